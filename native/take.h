/* The receiver's half: `ReceiverCore.receive` for the next number of a known session without a key (R11, R19). */
#ifndef ATMOST_TAKE_H
#define ATMOST_TAKE_H

#include <errno.h>
#include <sys/socket.h>

#include "clocks.h"
#include "hot.h"
#include "xxh3.h"

#define AHEAD 16 /* datagrams that one system call reads, at most */
#define MAX_ARRAY_KEYS 15
#define DEEPEST_WALK 256

/* By a token's first byte: how many bytes it takes in all; 0 when its length, or what it contains, has to be read. */
static int
size_of_token(uint8_t byte)
{
    static const uint8_t sizes[] = {5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18}; /* 0xca to 0xd8 */
    if (byte < 0x80 || byte >= 0xe0 || byte == 0xc0 || byte == 0xc2 || byte == 0xc3)
        return 1;
    if (byte >= 0xa0 && byte < 0xc0)
        return 1 + (byte & 31);
    return byte >= 0xca && byte <= 0xd8 ? sizes[byte - 0xca] : 0;
}

/* Bytes of the length behind a token's first byte. */
static int
width_of_length(uint8_t byte)
{
    switch (byte) {
    case 0xc4: case 0xc7: case 0xd9:
        return 1;
    case 0xc5: case 0xc8: case 0xda: case 0xdc: case 0xde:
        return 2;
    case 0xc6: case 0xc9: case 0xdb: case 0xdd: case 0xdf:
        return 4;
    default:
        return 0;
    }
}

/* `has_many_array_keys` of core/datagram.py: 1 when the body must not be decoded (R3), -1 when it is nested too deep to tell here. */
static int
has_many_array_keys(const uint8_t *body, Py_ssize_t length, Py_ssize_t count)
{
    Py_ssize_t heads = 0;
    if (memchr(body, 0xde, (size_t)length) == NULL && memchr(body, 0xdf, (size_t)length) == NULL)
        return 0;
    for (Py_ssize_t at = 0; at < length; at++)
        heads += (body[at] & 0xf0) == 0x90 || (body[at] & 0xfe) == 0xdc;
    if (heads - count <= MAX_ARRAY_KEYS)
        return 0;
    struct {
        uint64_t remaining;
        int in_map, arrays;
    } stack[DEEPEST_WALK], now = {1, 0, 0};
    int depth = 0;
    uint64_t position = 0, end = (uint64_t)length;
    for (;;) {
        while (!now.remaining) {
            if (!depth)
                return 0;
            now = stack[--depth];
        }
        if (position >= end)
            return 0; /* cut short: a decoder gets no further */
        uint8_t byte = body[position];
        int is_array = (byte & 0xf0) == 0x90 || (byte & 0xfe) == 0xdc, is_map = (byte & 0xf0) == 0x80 || (byte & 0xfe) == 0xde;
        if (is_array && now.in_map && !(now.remaining & 1) && ++now.arrays > MAX_ARRAY_KEYS)
            return 1;
        now.remaining--;
        int size = size_of_token(byte);
        if (size) {
            position += (uint64_t)size;
            continue;
        }
        if (byte == 0xc1)
            return 0; /* not MessagePack */
        int width = width_of_length(byte);
        if (position + 1 + (uint64_t)width > end)
            return 0;
        uint64_t inside = width ? read_big(body + position + 1, width) : byte & 15;
        position += 1 + (uint64_t)width;
        if (!is_array && !is_map)
            position += inside + (byte >= 0xc7 && byte <= 0xc9); /* an extension has a type besides */
        else if (inside) {
            if (now.remaining) {
                if (depth == DEEPEST_WALK)
                    return -1;
                stack[depth++] = now;
            }
            now.remaining = is_map ? 2 * inside : inside;
            now.in_map = is_map;
            now.arrays = 0;
        }
    }
}

/* What decides on a datagram, as it was looked up; the references are borrowed, from the table and from the core. */
typedef struct {
    PyObject *known, *window, *account, *books;
    uint64_t sequence, prior, sent_us, latest_us, start_us, seed;
    uint64_t end, messages, datagrams, accepted, arrived;
    Py_ssize_t count;
} Look;

/* R11.1 to R11.7 but for the body: whether it is the next number of a known session, and nothing speaks against it. */
static int
look_up(State *state, PyObject *core, PyObject *key, const uint8_t *datagram, uint64_t wall, Look *look)
{
    PyObject *table = AT(state, core, ReceiverCore__table), *keys = AT(state, core, ReceiverCore__keys);
    PyObject *books = AT(state, core, ReceiverCore__books);
    uint64_t last, efloor, highest, leave_at;
    if (AT(state, core, ReceiverCore__unfinished) != Py_False || AT(state, core, ReceiverCore__shards) != Py_None
        || AT(state, core, ReceiverCore__max_age_us) != Py_None || table == NULL || Py_TYPE(table) != state->SessionTable
        || keys == NULL || !PyDict_CheckExact(keys) || books == NULL || Py_TYPE(books) != state->Books
        || !is_unsigned(AT(state, core, ReceiverCore__wall_us), &last) || wall < last)
        return 0;
    PyObject *sessions = AT(state, table, SessionTable_sessions);
    PyObject *known = sessions != NULL && PyDict_CheckExact(sessions) ? PyDict_GetItemWithError(sessions, key) : NULL;
    if (known == NULL || Py_TYPE(known) != state->SessionState)
        return 0;
    PyObject *window = AT(state, known, SessionState_window), *account = AT(state, known, SessionState_account);
    PyObject *seal = AT(state, known, SessionState_seal), *leave = AT(state, known, SessionState_gaps_leave_at);
    PyObject *number = PyLong_FromLong((long)read_big(datagram + 2, 2));
    PyObject *factory = number == NULL ? NULL : PyDict_GetItemWithError(keys, number);
    Py_XDECREF(number);
    if (factory == NULL || factory != AT(state, known, SessionState_factory) || window == NULL
        || Py_TYPE(window) != state->ReplayWindow || account == NULL || Py_TYPE(account) != state->SessionAccount
        || seal == NULL || Py_TYPE(seal) != state->Seal || !is_unsigned(AT(state, seal, Seal__seed), &look->seed))
        return 0;
    look->known = known;
    look->window = window;
    look->account = account;
    look->books = books;
    look->count = (Py_ssize_t)read_big(datagram + 44, 2);
    look->start_us = read_big(datagram + 4, 8);
    look->sequence = read_big(datagram + 20, 8);
    look->prior = read_big(datagram + 28, 8);
    look->sent_us = read_big(datagram + 36, 8);
    if (!is_unsigned(AT(state, known, SessionState_efloor), &efloor)
        || !is_unsigned(AT(state, known, SessionState_max_sent_us), &look->latest_us)
        || !is_unsigned(AT(state, known, SessionState_datagrams), &look->datagrams)
        || !is_unsigned(AT(state, window, ReplayWindow_highest), &highest)
        || !is_unsigned(AT(state, account, SessionAccount_end), &look->end)
        || !is_unsigned(AT(state, account, SessionAccount_accepted), &look->messages)
        || !is_unsigned(AT(state, books, Books_accepted), &look->accepted)
        || !is_unsigned(AT(state, books, Books_datagrams_in), &look->arrived))
        return 0;
    if (leave != state->no_gap && (!is_unsigned(leave, &leave_at) || look->sequence >= leave_at))
        return 0; /* a gap leaves the window */
    if (look->latest_us < look->sent_us)
        look->latest_us = look->sent_us;
    return look->sent_us <= wall && look->sent_us > efloor && look->sent_us >= look->start_us && look->sequence
        && look->sequence - 1 == highest && look->prior == look->end
        && look->prior <= MAX_MESSAGES - (uint64_t)look->count;
}

/* R11.8, R11.9 and R19: marks the number and makes the messages available, in one step. Returns 0 with an exception set. */
static int
commit(State *state, PyObject *core, const Look *look, PyObject *messages, PyObject *sequence, PyObject *now, PyObject *wall)
{
    PyObject *unseen = AT(state, look->window, ReplayWindow_unseen), *mask = AT(state, core, ReceiverCore__mask);
    if (unseen == NULL || !PyLong_CheckExact(unseen) || mask == NULL || !PyLong_CheckExact(mask)) {
        PyErr_SetString(PyExc_SystemError, "atmost: a window without its numbers");
        return 0;
    }
    PyObject *still = NULL;
    if (unseen == state->zero)
        still = Py_NewRef(unseen);
    else {
        PyObject *shifted = PyNumber_Lshift(unseen, state->one);
        still = shifted == NULL ? NULL : PyNumber_And(shifted, mask);
        Py_XDECREF(shifted);
    }
    uint64_t count = (uint64_t)look->count;
    PyObject *made[] = {
        still,
        PyLong_FromUnsignedLongLong(look->end + count),
        PyLong_FromUnsignedLongLong(look->messages + count),
        PyLong_FromUnsignedLongLong(look->latest_us),
        PyLong_FromUnsignedLongLong(look->datagrams + 1),
        PyLong_FromUnsignedLongLong(look->accepted + 1),
        PyLong_FromUnsignedLongLong(look->arrived + 1),
    };
    int whole = 1;
    for (size_t at = 0; at < sizeof made / sizeof *made; at++)
        whole &= made[at] != NULL;
    if (!whole) {
        for (size_t at = 0; at < sizeof made / sizeof *made; at++)
            Py_XDECREF(made[at]);
        return 0;
    }
    put(&AT(state, look->window, ReplayWindow_highest), Py_NewRef(sequence));
    put(&AT(state, look->window, ReplayWindow_unseen), made[0]);
    put(&AT(state, look->account, SessionAccount_end), made[1]);
    put(&AT(state, look->account, SessionAccount_accepted), made[2]);
    put(&AT(state, look->known, SessionState_max_sent_us), made[3]);
    put(&AT(state, look->known, SessionState_last_seen), Py_NewRef(now));
    put(&AT(state, look->known, SessionState_datagrams), made[4]);
    put(&AT(state, look->books, Books_accepted), made[5]);
    put(&AT(state, look->books, Books_datagrams_in), made[6]);
    put(&AT(state, core, ReceiverCore__wall_us), Py_NewRef(wall));
    put(&AT(state, core, ReceiverCore_in_hand), Py_NewRef(messages)); /* the empty tuple goes */
    return 1;
}

/* Gives the messages what they have in common. Returns 0 when one is not a message. */
static int
arrive(State *state, PyObject *messages, PyObject *arrival)
{
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(messages); at++)
        if (Py_TYPE(PyList_GET_ITEM(messages, at)) != state->Message)
            return 0;
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(messages); at++)
        put(&AT(state, PyList_GET_ITEM(messages, at), Message_arrival), Py_NewRef(arrival));
    return 1;
}

/* Decides on a datagram as `ReceiverCore.receive` does: its messages, NULL with an exception set, or NULL without one when it is unusual. */
static PyObject *
take(State *state, PyObject *core, const uint8_t *datagram, Py_ssize_t length, PyObject *now, PyObject *wall)
{
    Py_ssize_t body = length - HEADER - TAG;
    uint64_t wall_us;
    uint8_t proof[TAG];
    Look look;
    put(&AT(state, core, ReceiverCore_in_hand), Py_NewRef(state->nothing)); /* first, because its last reference may be here */
    if (length <= OVERHEAD || length > LARGEST || datagram[0] != 0xA5 || datagram[1] != 0x11 || datagram[46]
        || (datagram[47] & ~PADDED) || datagram[48] != 0xDC || memcmp(datagram + 44, datagram + 49, 2)
        || !is_unsigned(wall, &wall_us))
        return NULL;
    Py_ssize_t count = (Py_ssize_t)read_big(datagram + 44, 2);
    if (!count || count > MAX_COUNT)
        return NULL;
    if (datagram[47]) { /* the last two bytes of the body are the length of its padding, theirs included */
        Py_ssize_t padding = (Py_ssize_t)read_big(datagram + HEADER + body - 2, 2);
        if (padding < 2 || padding > body - ARRAY)
            return NULL;
        body -= padding;
    }
    PyObject *key = PyBytes_FromStringAndSize((const char *)datagram + 2, 18);
    PyObject *text = NULL, *messages = NULL, *sequence = NULL, *sent = NULL, *arrival = NULL, *result = NULL;
    if (key == NULL || !look_up(state, core, key, datagram, wall_us, &look))
        goto done;
    xxh3_tag(datagram, (size_t)(length - TAG), look.seed, proof);
    if (memcmp(proof, datagram + length - TAG, TAG) || has_many_array_keys(datagram + HEADER, body, count))
        goto done;
    text = PyBytes_FromStringAndSize((const char *)datagram + HEADER, body);
    messages = text == NULL ? NULL : PyObject_CallOneArg(state->decode, text);
    if (messages == NULL) {
        if (PyErr_Occurred() && PyErr_ExceptionMatches(state->decoding_errors))
            PyErr_Clear(); /* the readable Python will refuse it */
        goto done;
    }
    sequence = PyLong_FromUnsignedLongLong(look.sequence);
    sent = PyLong_FromUnsignedLongLong(look.sent_us);
    arrival = state->Arrival->tp_alloc(state->Arrival, 0);
    if (sequence == NULL || sent == NULL || arrival == NULL)
        goto done;
    /* Decoding and allocating may have collected garbage, and a finalizer is any code: look again. Nothing runs from here to the commit. */
    if (!PyList_CheckExact(messages) || PyList_GET_SIZE(messages) != count
        || !look_up(state, core, key, datagram, wall_us, &look))
        goto done;
    AT(state, arrival, Arrival_session) = Py_NewRef(AT(state, look.known, SessionState_session));
    AT(state, arrival, Arrival_sequence) = Py_NewRef(sequence);
    AT(state, arrival, Arrival_sent_us) = Py_NewRef(sent);
    AT(state, arrival, Arrival_received_us) = Py_NewRef(wall);
    if (arrive(state, messages, arrival) && commit(state, core, &look, messages, sequence, now, wall))
        result = Py_NewRef(messages);
done:
    Py_XDECREF(key);
    Py_XDECREF(text);
    Py_XDECREF(messages);
    Py_XDECREF(sequence);
    Py_XDECREF(sent);
    Py_XDECREF(arrival);
    return result;
}

/* `ReceiverCore.receive`. */
static PyObject *
receive_hot(State *state, PyObject *readable, PyObject *const *arguments, size_t given, PyObject *names)
{
    if (names == NULL && PyVectorcall_NARGS(given) == 4 && state->receives && !is_watched()
        && PyObject_TypeCheck(arguments[0], state->ReceiverCore) && PyBytes_CheckExact(arguments[1])) {
        const uint8_t *datagram = (const uint8_t *)PyBytes_AS_STRING(arguments[1]);
        PyObject *messages = take(state, arguments[0], datagram, PyBytes_GET_SIZE(arguments[1]), arguments[2], arguments[3]);
        if (messages != NULL || PyErr_Occurred())
            return messages;
    }
    return PyObject_Vectorcall(readable, arguments, given, names);
}

/* What `drain` reads into. */
typedef struct {
#ifdef __linux__
    struct mmsghdr heads[AHEAD];
    struct iovec places[AHEAD];
#endif
    Py_ssize_t lengths[AHEAD];
    uint8_t datagrams[AHEAD][ROOM];
} Arrived;

/* Reads what waits at a socket, at most `wanted` datagrams, and returns how many came; `is_empty` says whether no more wait. */
static int
read_some(int descriptor, Arrived *arrived, int wanted, int *is_empty)
{
    ssize_t length;
#ifdef __linux__
    int came;
    for (int at = 0; at < wanted; at++) {
        arrived->places[at] = (struct iovec){arrived->datagrams[at], ROOM};
        arrived->heads[at] = (struct mmsghdr){.msg_hdr = {.msg_iov = &arrived->places[at], .msg_iovlen = 1}};
    }
    do
        came = recvmmsg(descriptor, arrived->heads, (unsigned)wanted, MSG_DONTWAIT, NULL);
    while (came < 0 && errno == EINTR);
    for (int at = 0; at < came; at++)
        arrived->lengths[at] = (Py_ssize_t)arrived->heads[at].msg_len;
    *is_empty = came < wanted;
    if (came >= 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == EBADF)
        return came < 0 ? 0 : came;
#endif
    do /* where a sandbox does not know the other call */
        length = recv(descriptor, arrived->datagrams[0], ROOM, MSG_DONTWAIT);
    while (length < 0 && errno == EINTR);
    arrived->lengths[0] = (Py_ssize_t)length;
    *is_empty = length < 0; /* or closed */
    return length < 0 ? 0 : 1;
}

/* Gives back what was read and not taken, in its order, also while an exception is set. Returns 0 with one set. */
static int
give_back(State *state, PyObject *ahead, const Arrived *arrived, int from, int to)
{
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    for (int at = from; at < to; at++) {
        PyObject *datagram = PyBytes_FromStringAndSize((const char *)arrived->datagrams[at], arrived->lengths[at]);
        PyObject *given = datagram == NULL ? NULL : PyObject_VectorcallMethod(
            state->str_append, (PyObject *[]){ahead, datagram}, 2, NULL);
        Py_XDECREF(datagram);
        if (given == NULL)
            break;
        Py_DECREF(given);
    }
    if (kind != NULL)
        PyErr_Restore(kind, value, traceback);
    return !PyErr_Occurred();
}

/* drain(core, descriptor, queue, ahead, now, wall_us, total, goal, light, left, until): the loop of `Intake._read` over a plain socket.
 *
 * Takes datagrams and queues their messages, until one is unusual, or the queue would no longer be light, which the caller then has to
 * decide on; or until the socket is empty, `total` has reached `goal`, or `left` datagrams were taken; after `until` (monotonic, seconds)
 * none is left to be taken. Several are read by one system call: what was read and not taken is appended to `ahead`. Gives the new `total`
 * and `left`, and whether nothing is left to be taken anywhere. An exception leaves the messages of a datagram in the core's hand, as in the
 * readable loop.
 */
static PyObject *
drain(PyObject *module, PyObject *const *arguments, Py_ssize_t given)
{
    State *state = PyModule_GetState(module);
    if (given != 11 || !state->receives || !PyObject_TypeCheck(arguments[0], state->ReceiverCore))
        return PyErr_Format(PyExc_TypeError, "drain: a core and ten values are expected");
    PyObject *core = arguments[0], *queue = arguments[2], *ahead = arguments[3], *now = arguments[4], *wall = arguments[5];
    int descriptor = (int)PyLong_AsLong(arguments[1]);
    Py_ssize_t total = PyLong_AsSsize_t(arguments[6]), goal = PyLong_AsSsize_t(arguments[7]);
    Py_ssize_t light = PyLong_AsSsize_t(arguments[8]), left = PyLong_AsSsize_t(arguments[9]);
    double until = PyFloat_AsDouble(arguments[10]);
    if (PyErr_Occurred())
        return NULL;
    /* A buffer serves one call at a time: decoding may run a finalizer, or let another thread run, that drains another receiver. Such a call
     * finds none, and makes its own. */
    Arrived *arrived = state->spare;
    state->spare = NULL;
    if (arrived == NULL)
        arrived = PyMem_RawMalloc(sizeof *arrived);
    if (arrived == NULL)
        return PyErr_NoMemory();
    int is_empty = 0, failed = 0, given_back = 0;
    uint8_t process = here_now(state);
    while (left > 0 && total < goal && !is_empty && !given_back && !failed) {
        int came = read_some(descriptor, arrived, left < AHEAD ? (int)left : AHEAD, &is_empty), at = 0;
        while (at < came && left > 0 && total < goal) {
            const uint8_t *datagram = arrived->datagrams[at];
            Py_ssize_t length = arrived->lengths[at];
            Py_ssize_t heaviest = length > OVERHEAD
                ? length * state->swelling / state->queued_bytes + (Py_ssize_t)read_big(datagram + 44, 2)
                : light;
            if (total + heaviest > light || is_watched())
                break;
            PyObject *messages = take(state, core, datagram, length, now, wall);
            failed = messages == NULL && PyErr_Occurred();
            if (messages == NULL && !failed)
                break;
            at++;
            left--;
            PyObject *batch = failed ? NULL : Py_BuildValue("nN", total + heaviest, messages);
            PyObject *queued = batch == NULL ? NULL : PyObject_VectorcallMethod(
                state->str_append, (PyObject *[]){queue, batch}, 2, NULL);
            Py_XDECREF(batch);
            failed = queued == NULL;
            Py_XDECREF(queued);
            if (here_now(state) != process) { /* a finalizer has forked: all this is the parent's (R8) */
                is_empty = 1;
                came = at;
            }
            if (failed)
                break;
            total += heaviest;
            if (monotonic() > until)
                left = 0;
        }
        given_back = at < came;
        if (given_back && !give_back(state, ahead, arrived, at, came))
            failed = 1;
    }
    if (state->spare == NULL)
        state->spare = arrived;
    else
        PyMem_RawFree(arrived);
    return failed ? NULL : Py_BuildValue("nnO", total, left, is_empty && !given_back ? Py_True : Py_False);
}

#endif
