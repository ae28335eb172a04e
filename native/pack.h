/* The sender's half: `Sender.send`, from the pair to the kernel (R4 to R6). */
#ifndef ATMOST_PACK_H
#define ATMOST_PACK_H

#include <errno.h>
#include <netinet/in.h>
#ifdef __linux__
#include <netinet/udp.h>
#endif
#include <sys/socket.h>

#include "clocks.h"
#include "encode.h"
#include "xxh3.h"

/* Whether an outlet is ours, and stamps by the system's clock. */
static int
has_wall_clock(State *state, PyObject *outlet)
{
    if (Py_TYPE(outlet) != state->Outlet) /* another's may be any code */
        return 0;
    PyObject *clock = PyObject_GetAttr(outlet, state->str_clock);
    if (clock == NULL)
        PyErr_Clear();
    Py_XDECREF(clock);
    return clock == state->wall_clock;
}

/* The descriptor of an outlet that sends through a plain socket of CPython's, and -1 otherwise. */
static int
plain_descriptor(State *state, PyObject *outlet)
{
    if (Py_TYPE(outlet) != state->Outlet)
        return -1;
    PyObject *send = PyObject_GetAttr(outlet, state->str__send);
    int descriptor = -1;
    if (send != NULL && PyCFunction_CheckExact(send) && ((PyCFunctionObject *)send)->m_ml == state->socket_send) {
        PyObject *socket = PyCFunction_GET_SELF(send);
        if (PyObject_TypeCheck(socket, state->socket_type)) {
            PyObject *number = PyObject_Vectorcall(state->fileno, &socket, 1, NULL);
            if (number != NULL) {
                descriptor = (int)PyLong_AsLong(number);
                Py_DECREF(number);
            }
        }
    }
    Py_XDECREF(send);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return -1;
    }
    return descriptor;
}

/* A copy of the counts of refused messages by errno with `count` more; a new dictionary, because nobody changes one that is in use. */
static PyObject *
more_refused(State *state, PyObject *refused, int error, Py_ssize_t count)
{
    int collecting = PyGC_Disable(); /* else a finalizer could run here, between the system call and its booking */
    PyObject *result = NULL, *sum = NULL, *before = NULL;
    PyObject *number = PyLong_FromLong(error);
    PyObject *name = number == NULL ? NULL : PyDict_GetItemWithError(state->errorcode, number);
    PyObject *unknown = NULL;
    if (number != NULL && name == NULL && !PyErr_Occurred())
        name = unknown = PyUnicode_FromString("EUNKNOWN");
    if (name != NULL && PyDict_CheckExact(refused)) {
        result = PyDict_Copy(refused);
        before = result == NULL ? NULL : PyDict_GetItemWithError(result, name);
        sum = PyErr_Occurred() ? NULL : PyLong_FromSsize_t(count);
        if (sum != NULL && before != NULL)
            Py_SETREF(sum, PyNumber_Add(before, sum));
        if (result != NULL && (sum == NULL || PyDict_SetItem(result, name, sum) < 0))
            Py_CLEAR(result);
    }
    Py_XDECREF(sum);
    Py_XDECREF(unknown);
    Py_XDECREF(number);
    if (collecting)
        PyGC_Enable();
    return result;
}

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h */
#endif
#define TOGETHER 16     /* datagrams in one system call, at most: those of 8 full ones, if all are half empty */
#define QUICKLY 0.0001  /* a sender that fills a datagram within this time has the next one full soon, seconds */
#define NOT_LONG 0.01   /* with a longer linger no full datagram waits, seconds */

/* A datagram's share of the open messages; `length` is their bytes. */
typedef struct {
    Py_ssize_t first, count, length;
} Share;

/* Divides the open messages among datagrams, at most `most` of them; returns how many, or 0 when that is unusual.
 *
 * Those that are padded to `room` need two bytes for the length of the padding: a message that would leave one goes to the next datagram.
 */
static int
divide(PyObject *open, Py_ssize_t room, int most, int is_padded, Share *shares)
{
    Py_ssize_t count = PyList_GET_SIZE(open), at = 0;
    int many = 0;
    while (at < count) {
        if (many == most)
            return 0;
        Share *share = &shares[many++];
        Py_ssize_t last = 0;
        *share = (Share){at, 0, 0};
        for (; at < count && share->count < MAX_COUNT; at++) {
            PyObject *item = PyList_GET_ITEM(open, at);
            if (!PyBytes_CheckExact(item))
                return 0;
            if (share->count && share->length + PyBytes_GET_SIZE(item) > room)
                break;
            last = PyBytes_GET_SIZE(item);
            share->length += last;
            share->count++;
        }
        if (is_padded && at < count && room - share->length == 1) {
            if (share->count == 1)
                return 0;
            share->length -= last;
            share->count--;
            at--;
        }
        if (share->length > LARGEST - OVERHEAD || (share->length > room && count > share->count))
            return 0;
    }
    return many;
}

/* Whether all datagrams but the last are equally long, and the last one no longer. */
static int
are_equal(const Share *shares, int many)
{
    for (int at = 1; at < many; at++)
        if (at < many - 1 ? shares[at].length != shares[0].length : shares[at].length > shares[0].length)
            return 0;
    return 1;
}

/* Hands datagrams to the kernel, all or none of them: each has `size` bytes, but for the last, which may be shorter. Returns the errno. */
static int
transmit(int descriptor, uint8_t *datagrams, size_t length, size_t size)
{
    ssize_t sent;
    if (length <= size) {
        do
            sent = send(descriptor, datagrams, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        return sent < 0 ? errno : 0;
    }
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control = {.bytes = {0}};
    struct iovec place = {datagrams, length};
    struct msghdr message = {
        .msg_iov = &place, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.bytes};
    uint16_t each = (uint16_t)size;
    control.head.cmsg_level = IPPROTO_UDP;
    control.head.cmsg_type = UDP_SEGMENT;
    control.head.cmsg_len = CMSG_LEN(sizeof each);
    memcpy(CMSG_DATA(&control.head), &each, sizeof each);
    do
        sent = sendmsg(descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

/* Whether an errno says that the system cannot divide this into datagrams; nothing was transmitted then. */
static int
cannot_segment(int error)
{
    return error == EINVAL || error == EIO || error == EMSGSIZE || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

enum { FAILED = -1, UNUSUAL = 0, DONE = 1, PYTHON_RAN = 2 };

/* Hands over what is open, all of it, as `Sender._hand_over` does with `flush`, when that is one datagram, or a few that the kernel takes at
 * once, and nothing else is due.
 *
 * All are numbered and booked in one step with one system call, which takes all or none of them. If the socket cannot take them now, nothing
 * has happened yet, and the readable Python takes the same step again: a datagram that was certainly not taken may be offered again (R6).
 */
static int
hand_over(State *state, PyObject *sender, PyObject *core, double now)
{
    /* Python may have run since the caller looked: a signal handler may have forked, and this is then the parent's (R8). */
    if (!is_here(state) || AT(state, sender, Sender__core) != core)
        return UNUSUAL;
    PyObject *open = AT(state, core, Life_open), *session = AT(state, core, Life__session);
    PyObject *tickets = AT(state, core, Life_tickets), *background = AT(state, core, Life_background);
    PyObject *options = AT(state, core, Life_options), *refused = AT(state, core, Life__refused);
    /* Nobody has the turn, and nothing waits for one: not a datagram, a key, or the end. */
    if (open == NULL || !PyList_CheckExact(open) || tickets == NULL || !PyDict_CheckExact(tickets)
        || PyDict_GET_SIZE(tickets) || AT(state, core, Life_flight) != Py_None
        || AT(state, core, Life_wanted_key) != Py_None || AT(state, core, Life_left) != Py_False
        || AT(state, core, Life_finished) != Py_False || AT(state, core, Life_closed) != Py_False)
        return UNUSUAL;
    if (session == NULL || Py_TYPE(session) != state->SenderSession || AT(state, session, SenderSession_over) != Py_False
        || background == NULL || Py_TYPE(background) != state->Background || options == NULL
        || Py_TYPE(options) != state->Options || refused == NULL
        || AT(state, options, Options_max_bytes_per_second) != Py_None)
        return UNUSUAL;
    PyObject *seal = AT(state, session, SenderSession_seal), *identity = AT(state, session, SenderSession_identity);
    PyObject *load_until = AT(state, session, SenderSession_load_until);
    double beacon_at, pace_at, comes_at, linger, until;
    uint64_t sequence, prior, sent_us, handed, key_id, start_us, random64, step_back, seed, wall = wall_us();
    Py_ssize_t room;
    if (seal == NULL || Py_TYPE(seal) != state->Seal || !is_unsigned(AT(state, seal, Seal__seed), &seed)
        || identity == NULL || !PyTuple_CheckExact(identity) || PyTuple_GET_SIZE(identity) != 2
        || !is_unsigned(PyTuple_GET_ITEM(identity, 0), &start_us) || !is_unsigned(PyTuple_GET_ITEM(identity, 1), &random64)
        || !is_unsigned(AT(state, session, SenderSession_sequence), &sequence)
        || !is_unsigned(AT(state, session, SenderSession_prior), &prior)
        || !is_unsigned(AT(state, session, SenderSession_max_sent_us), &sent_us)
        || !is_unsigned(AT(state, session, SenderSession_key_id), &key_id)
        || !is_unsigned(AT(state, core, Life__handed_over), &handed)
        || !is_unsigned(AT(state, core, Life__step_back_us), &step_back) || !is_size(AT(state, core, Life_room), &room)
        || !is_float(AT(state, core, Life_beacon_at), &beacon_at) || !is_float(AT(state, core, Life__pace_at), &pace_at)
        || !is_float(AT(state, background, Background_comes_at), &comes_at)
        || !is_float(AT(state, sender, Sender__linger), &linger))
        return UNUSUAL;
    /* A beacon opens the session and comes before the data when it is due (R7); a clock set back begins another session. */
    if (!sequence || now >= beacon_at || now < pace_at || linger <= 0 || wall + step_back < sent_us || key_id > 0xFFFF)
        return UNUSUAL;
    if (load_until == Py_None)
        until = now + state->beacon_under_load;
    else if (!is_float(load_until, &until))
        return UNUSUAL;
    Py_ssize_t count = PyList_GET_SIZE(open), together;
    if (!count || prior > MAX_MESSAGES || handed > MAX_MESSAGES || sequence > MAX_MESSAGES
        || !is_size(AT(state, core, Life_together), &together))
        return UNUSUAL;
    Share shares[TOGETHER];
    int most = together > 1 ? TOGETHER : 1, is_padded = 0;
    int many = divide(open, room, most, 0, shares);
    if (many > 1 && !are_equal(shares, many)) {
        is_padded = 1;
        many = divide(open, room, most, 1, shares);
    }
    if (!many)
        return UNUSUAL;
    size_t size = OVERHEAD + (size_t)(is_padded ? room : shares[0].length);
    if (size * (size_t)(many - 1) + OVERHEAD + (size_t)shares[many - 1].length > LARGEST)
        return UNUSUAL;
    PyObject *outlet = AT(state, core, Life_outlet);
    int descriptor = outlet != NULL && has_wall_clock(state, outlet) ? plain_descriptor(state, outlet) : -1;
    if (descriptor < 0)
        return UNUSUAL;
    if (sent_us < wall)
        sent_us = wall;

    size_t length = 0; /* of all of them */
    uint64_t before = prior;
    for (int number = 0; number < many; number++) {
        const Share *share = &shares[number];
        uint8_t *datagram = state->datagram + length, *at = datagram + HEADER + ARRAY;
        int pads = is_padded && number < many - 1 && share->length < room;
        datagram[0] = 0xA5;
        datagram[1] = 0x11; /* version 1, DATA */
        write_big(datagram + 2, key_id, 2);
        write_big(datagram + 4, start_us, 8);
        write_big(datagram + 12, random64, 8);
        write_big(datagram + 20, sequence + (uint64_t)number, 8);
        write_big(datagram + 28, before, 8);
        write_big(datagram + 36, sent_us, 8);
        write_big(datagram + 44, (uint64_t)share->count, 2);
        write_big(datagram + 46, pads ? PADDED : 0, 2);
        datagram[48] = 0xDC;
        write_big(datagram + 49, (uint64_t)share->count, 2);
        for (Py_ssize_t place = share->first; place < share->first + share->count; place++) {
            PyObject *item = PyList_GET_ITEM(open, place);
            memcpy(at, PyBytes_AS_STRING(item), (size_t)PyBytes_GET_SIZE(item));
            at += PyBytes_GET_SIZE(item);
        }
        if (pads) {
            size_t padding = (size_t)(room - share->length);
            memset(at, 0, padding);
            at += padding;
            write_big(at - 2, padding, 2);
        }
        xxh3_tag(datagram, (size_t)(at - datagram), seed, at);
        length += (size_t)(at - datagram) + TAG;
        before += (uint64_t)share->count;
    }

    /* What is assigned afterwards is made now, because an allocation can fail. */
    double beacon = now + state->beacon_after_data;
    PyObject *new_sequence = PyLong_FromUnsignedLongLong(sequence + (uint64_t)many);
    PyObject *new_prior = PyLong_FromUnsignedLongLong(prior + (uint64_t)count);
    PyObject *new_sent = PyLong_FromUnsignedLongLong(sent_us);
    PyObject *new_handed = PyLong_FromUnsignedLongLong(handed + (uint64_t)count);
    PyObject *new_since = PyFloat_FromDouble(now), *new_immediate = PyFloat_FromDouble(now + state->immediate_every);
    PyObject *new_until = PyFloat_FromDouble(until), *new_beacon = PyFloat_FromDouble(until < beacon ? until : beacon);
    int error = 0;
    if (new_sequence == NULL || new_prior == NULL || new_sent == NULL || new_handed == NULL || new_since == NULL
        || new_immediate == NULL || new_until == NULL || new_beacon == NULL)
        error = EAGAIN; /* nothing has happened: let the readable Python say it */
    else
        error = transmit(descriptor, state->datagram, length, many > 1 ? size : length);
    if (many > 1 && cannot_segment(error)) {
        if (error != EMSGSIZE) /* from now on one by one; datagrams that are too large become smaller */
            put(&AT(state, core, Life_together), Py_NewRef(state->one));
        error = EAGAIN;
    }
    if (error == EAGAIN || error == EWOULDBLOCK) {
        Py_XDECREF(new_sequence);
        Py_XDECREF(new_prior);
        Py_XDECREF(new_sent);
        Py_XDECREF(new_handed);
        Py_XDECREF(new_since);
        Py_XDECREF(new_immediate);
        Py_XDECREF(new_until);
        Py_XDECREF(new_beacon);
        PyErr_Clear();
        return UNUSUAL;
    }
    /* The number is spent, whatever the kernel answered (R5), and the attempt is booked. */
    PyObject *new_refused = error ? more_refused(state, refused, error, count) : NULL;
    put(&AT(state, session, SenderSession_sequence), new_sequence);
    put(&AT(state, session, SenderSession_prior), new_prior);
    put(&AT(state, session, SenderSession_max_sent_us), new_sent);
    put(&AT(state, session, SenderSession_interval), Py_NewRef(state->after_data));
    put(&AT(state, session, SenderSession_load_until), new_until);
    put(&AT(state, core, Life_open_since), new_since);
    put(&AT(state, core, Life_immediate_at), new_immediate);
    put(&AT(state, core, Life_beacon_at), new_beacon);
    put(&AT(state, core, Life_size), Py_NewRef(state->zero));
    put(&AT(state, core, Life_armed), Py_NewRef(Py_False));
    if (new_refused == NULL) /* taken; or memory for the refusal ran out, and then the receiver's account shows the loss */
        put(&AT(state, core, Life__handed_over), new_handed);
    else {
        Py_DECREF(new_handed);
        put(&AT(state, core, Life__refused), new_refused);
    }
    int failed = PyErr_Occurred() != NULL;
    PyObject *kind = NULL, *value = NULL, *traceback = NULL;
    if (failed)
        PyErr_Fetch(&kind, &value, &traceback);
    if (PyList_SetSlice(open, 0, count, NULL) < 0) /* of bytes: runs nothing */
        return FAILED;
    if (failed) {
        PyErr_Restore(kind, value, traceback);
        return FAILED;
    }

    if (error) { /* the outlet decides what that says of its socket */
        PyObject *number = PyLong_FromLong(error), *arguments[] = {sender, core, number};
        PyObject *result = number == NULL ? NULL
                                          : PyObject_VectorcallMethod(state->str__after_refusal, arguments, 3, NULL);
        Py_XDECREF(number);
        Py_XDECREF(result);
        return result == NULL ? FAILED : PYTHON_RAN;
    }
    if (comes_at > now + linger) {
        Py_INCREF(background);
        PyObject *deadline = PyObject_VectorcallMethod(state->str_next_deadline, &core, 1, NULL);
        PyObject *arguments[] = {background, deadline};
        PyObject *result = deadline == NULL ? NULL
                                            : PyObject_VectorcallMethod(state->str_wake_at, arguments, 2, NULL);
        Py_DECREF(background);
        Py_XDECREF(deadline);
        Py_XDECREF(result);
        return result == NULL ? FAILED : PYTHON_RAN;
    }
    return DONE;
}

/* `Sender._first_in`: the first message of a datagram arms it. Returns 0 with an exception set. */
static int
first_in(State *state, PyObject *sender, PyObject *core)
{
    PyObject *background = AT(state, core, Life_background);
    double now = monotonic(), immediate_at, comes_at, linger;
    if (!is_float(AT(state, core, Life_immediate_at), &immediate_at) || background == NULL
        || Py_TYPE(background) != state->Background || !is_float(AT(state, background, Background_comes_at), &comes_at)
        || !is_float(AT(state, sender, Sender__linger), &linger)) {
        PyErr_SetString(PyExc_SystemError, "atmost: a sender without its clocks");
        return 0;
    }
    PyObject *since = PyFloat_FromDouble(now), *result = NULL;
    if (since == NULL)
        return 0;
    put(&AT(state, core, Life_open_since), Py_NewRef(since));
    put(&AT(state, core, Life_armed), Py_NewRef(Py_True));
    int done = DONE, due = now >= immediate_at;
    if (!due && now + linger < comes_at) {
        PyObject *when = PyFloat_FromDouble(now + linger), *arguments[] = {background, when};
        Py_INCREF(background);
        result = when == NULL ? NULL : PyObject_VectorcallMethod(state->str_wake_at, arguments, 2, NULL);
        Py_DECREF(background);
        Py_XDECREF(when);
        done = result == NULL ? FAILED : DONE;
        due = result == Py_False; /* without a thread that comes when the linger is over it leaves at once */
        Py_CLEAR(result);
    }
    if (due) {
        done = hand_over(state, sender, core, now);
        if (done == UNUSUAL) {
            PyObject *arguments[] = {sender, since};
            result = PyObject_VectorcallMethod(state->str__hand_over, arguments, 2, NULL);
            done = result == NULL ? FAILED : DONE;
        }
    }
    Py_DECREF(since);
    Py_XDECREF(result);
    if (done == FAILED) { /* this datagram would wait for ever: the next message arms it again */
        put(&AT(state, core, Life_armed), Py_NewRef(Py_False));
        return 0;
    }
    return 1;
}

/* Puts a message into the open datagram. Returns 0 with an exception set. */
static int
append(State *state, PyObject *core, PyObject *item, Py_ssize_t size)
{
    PyObject *new_size = PyLong_FromSsize_t(size);
    if (new_size == NULL || PyList_Append(AT(state, core, Life_open), item) < 0) {
        Py_XDECREF(new_size);
        return 0;
    }
    put(&AT(state, core, Life_size), new_size);
    return 1;
}

/* Whether a datagram that is full waits for others, to leave by one system call with them.
 *
 * It does where datagrams fill quickly and the thread in the background comes soon: that one hands over what is full, and what has lingered.
 */
static int
waits_for_others(State *state, PyObject *sender, PyObject *core, Py_ssize_t before, Py_ssize_t size)
{
    PyObject *options = AT(state, core, Life_options);
    Py_ssize_t together, room, buffer;
    double since, comes_at, linger, now;
    if (!is_size(AT(state, core, Life_together), &together) || together < 2 || !is_size(AT(state, core, Life_room), &room)
        || size > together * room || AT(state, core, Life_armed) != Py_True || AT(state, core, Life_closed) != Py_False
        || AT(state, core, Life_flight) != Py_None || options == NULL || Py_TYPE(options) != state->Options
        || AT(state, options, Options_max_bytes_per_second) != Py_None
        || !is_size(AT(state, options, Options_max_buffer), &buffer) || size > buffer || size - before > room)
        return 0;
    if (before > room)
        return 1;
    PyObject *background = AT(state, core, Life_background);
    if (background == NULL || Py_TYPE(background) != state->Background
        || !is_float(AT(state, background, Background_comes_at), &comes_at)
        || !is_float(AT(state, sender, Sender__linger), &linger) || linger > NOT_LONG
        || !is_float(AT(state, core, Life_open_since), &since))
        return 0;
    now = monotonic();
    return now - since < QUICKLY && comes_at <= now + NOT_LONG;
}

/* A message that does not fit the open datagram, as `Sender._send_the_long_way` has it. */
static PyObject *
send_full(State *state, PyObject *sender, PyObject *core, PyObject *item, Py_ssize_t size)
{
    PyObject *open = AT(state, core, Life_open);
    Py_ssize_t length = PyBytes_GET_SIZE(item), longest, room;
    int done = UNUSUAL;
    if (waits_for_others(state, sender, core, size - length, size)) {
        if (!append(state, core, item, size))
            return NULL;
        Py_RETURN_TRUE;
    }
    double now = monotonic();
    if (is_size(AT(state, core, Life_max_message), &longest) && length <= longest && PyList_GET_SIZE(open)
        && is_size(AT(state, core, Life_room), &room) && size > room)
        done = hand_over(state, sender, core, now);
    if (done == FAILED)
        return NULL;
    if (done == UNUSUAL) {
        PyObject *arguments[] = {sender, core, item, Py_True}, *names = PyTuple_Pack(1, state->str_here);
        PyObject *result = names == NULL
            ? NULL
            : PyObject_VectorcallMethod(state->str__send_the_long_way, arguments, 3, names);
        Py_XDECREF(names);
        return result;
    }
    PyObject *since = PyFloat_FromDouble(now);
    if (since == NULL)
        return NULL;
    if (done == PYTHON_RAN) { /* anything may have happened meanwhile */
        PyObject *arguments[] = {sender, core, item, since};
        PyObject *taken = PyObject_VectorcallMethod(state->str__offer, arguments, 4, NULL);
        Py_DECREF(since);
        if (taken != Py_True)
            return taken;
        Py_DECREF(taken);
    }
    else {
        put(&AT(state, core, Life_open_since), since);
        if (!append(state, core, item, length))
            return NULL;
    }
    if (AT(state, core, Life_armed) != Py_True && !first_in(state, sender, core))
        return NULL;
    Py_RETURN_TRUE;
}

/* `UdpOutlet.send`: keeps the interpreter's lock during the system call, which never waits.
 *
 * Whoever hands over has the turn. Without the lock it would wait for the lock afterwards, up to a switch interval for each datagram, while the
 * thread that has the lock sends on, gets no turn, and fills the buffer.
 */
static PyObject *
outlet_send_hot(State *state, PyObject *readable, PyObject *const *arguments, size_t given, PyObject *names)
{
    Py_ssize_t count = PyVectorcall_NARGS(given);
    if (names != NULL || count < 2 || count > 3 || !state->sends || is_watched()
        || Py_TYPE(arguments[0]) != state->Outlet || !PyBytes_CheckExact(arguments[1])
        || PyBytes_GET_SIZE(arguments[1]) < HEADER || (count == 3 && !PyLong_CheckExact(arguments[2])))
        return PyObject_Vectorcall(readable, arguments, given, names);
    PyObject *outlet = arguments[0], *datagram = arguments[1];
    if (PyBytes_AS_STRING(datagram)[1] == 0x12) { /* a beacon: the outlet looks after its socket */
        PyObject *result = PyObject_VectorcallMethod(state->str__tend, &outlet, 1, NULL);
        if (result == NULL)
            return NULL;
        Py_DECREF(result);
    }
    int descriptor = plain_descriptor(state, outlet), error;
    long process = count == 3 ? PyLong_AsLong(arguments[2]) : -1; /* ANY_PROCESS */
    if (descriptor < 0 || (process == -1 && PyErr_Occurred())
        || (process != -1 && process != here_now(state))) {
        PyErr_Clear();
        return PyObject_Vectorcall(readable, arguments, given, names);
    }
    do
        error = send(descriptor, PyBytes_AS_STRING(datagram), (size_t)PyBytes_GET_SIZE(datagram),
                    MSG_DONTWAIT | MSG_NOSIGNAL) < 0
            ? errno
            : 0;
    while (error == EINTR);
    if (!error)
        Py_RETURN_NONE;
    PyObject *why = PyObject_CallFunction(PyExc_OSError, "is", error, strerror(error)), *pair[] = {outlet, why};
    PyObject *name = why == NULL ? NULL : PyObject_VectorcallMethod(state->str_refused, pair, 2, NULL);
    Py_XDECREF(why);
    return name;
}

/* `Sender.send`. */
static PyObject *
send_hot(State *state, PyObject *readable, PyObject *const *arguments, size_t given, PyObject *names)
{
    Py_ssize_t count = PyVectorcall_NARGS(given);
    if (names != NULL || count < 2 || count > 3 || !state->sends || is_watched())
        goto readable;
    PyObject *sender = arguments[0], *subject = arguments[1], *payload = count == 3 ? arguments[2] : Py_None;
    if (!PyObject_TypeCheck(sender, state->Sender) || !PyUnicode_CheckExact(subject))
        goto readable;
    PyObject *subjects = AT(state, sender, Sender__subjects);
    if (subjects == NULL || !Py_IS_TYPE(subjects, &PySet_Type))
        goto readable;
    Py_INCREF(subjects); /* a subject of a subclass of str may compare itself in Python, and then anything happens */
    int known = PySet_Contains(subjects, subject);
    Py_DECREF(subjects);
    if (known < 0)
        return NULL;
    PyObject *core = AT(state, sender, Sender__core);
    if (!known || core == NULL || Py_TYPE(core) != state->Life || !is_here(state))
        goto readable;
    PyObject *open = AT(state, core, Life_open);
    Py_ssize_t size, capacity;
    if (open == NULL || !PyList_CheckExact(open) || !is_size(AT(state, core, Life_size), &size)
        || !is_size(AT(state, core, Life_capacity), &capacity))
        goto readable;
    Py_ssize_t length = encode_pair(state, subject, payload);
    if (length < 0)
        goto readable;
    PyObject *item = PyBytes_FromStringAndSize((const char *)state->item, length), *result;
    if (item == NULL)
        return NULL;
    Py_INCREF(core);
    if (size + length > capacity)
        result = send_full(state, sender, core, item, size + length);
    else if (!append(state, core, item, size + length)
        || (AT(state, core, Life_armed) != Py_True && !first_in(state, sender, core)))
        result = NULL;
    else
        result = Py_NewRef(Py_True);
    Py_DECREF(core);
    Py_DECREF(item);
    return result;
readable:
    return PyObject_Vectorcall(readable, arguments, given, names);
}

#endif
