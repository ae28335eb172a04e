/* What the parts of the compiled hot path share: the state of the module, and how it reads the objects of the readable Python.
 *
 * Theory of operation. The state lives in the Python objects alone, in their slots. The compiled functions look at it, and do a usual case from its
 * first look to its last assignment without running Python code and without releasing the interpreter's lock. So no thread, signal handler,
 * finalizer or fork comes in between, and whoever looks next finds the step done or not begun: what the readable Python reaches with tickets and
 * statements of one line. Everything unusual is found out before anything is changed, and then the readable function is called with the same
 * arguments. It may also be called at any other moment: it goes on from the same state.
 *
 * What can run Python code, and therefore stands before the first look or after the last assignment: allocating an object that the garbage
 * collector tracks (finalizers), releasing the last reference to a value of a user's, calling anything. Bytes, numbers and texts are not tracked.
 *
 * A thread that is traced or profiled (sys.settrace, sys.setprofile) runs the readable Python, so that debuggers, coverage and the tests that
 * interrupt every line see it. Tools on sys.monitoring (3.12) do not say so; ATMOST_PURE=1 is for them.
 */
#ifndef ATMOST_HOT_H
#define ATMOST_HOT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <stdint.h>

#define LARGEST 65507 /* MAX_DATAGRAM of core/limits.py */
#define ROOM (LARGEST + 1024) /* what is read at once: more than a datagram can be */
#define HEADER 48
#define ARRAY 3
#define TAG 16
#define PADDED 2 /* FLAG_PADDED of core/datagram.py */
#define OVERHEAD (HEADER + ARRAY + TAG)
#define MAX_COUNT ((LARGEST - OVERHEAD) / 4)
#define MAX_MESSAGES (1ULL << 53)

/* Types by the names under which `bind` is given them, and their slots. */
#define SENDING_SLOTS(slot)                                                                                            \
    slot(Sender, _core) slot(Sender, _linger) slot(Sender, _subjects) slot(Life, _handed_over) slot(Life, _pace_at)    \
    slot(Life, _refused) slot(Life, _session) slot(Life, _step_back_us) slot(Life, armed) slot(Life, background)       \
    slot(Life, beacon_at) slot(Life, capacity) slot(Life, closed) slot(Life, finished) slot(Life, flight)              \
    slot(Life, immediate_at) slot(Life, left) slot(Life, max_message) slot(Life, open) slot(Life, open_since)          \
    slot(Life, options) slot(Life, outlet) slot(Life, room) slot(Life, size) slot(Life, tickets)                       \
    slot(Life, together) slot(Life, wanted_key) slot(SenderSession, identity) slot(SenderSession, interval) slot(SenderSession, key_id)     \
    slot(SenderSession, load_until) slot(SenderSession, max_sent_us) slot(SenderSession, over)                         \
    slot(SenderSession, prior) slot(SenderSession, seal) slot(SenderSession, sequence) slot(Seal, _seed)               \
    slot(Background, comes_at) slot(Options, max_buffer)                                  \
    slot(Options, max_bytes_per_second)
#define SENDING_TYPES(type) type(Sender) type(Life) type(SenderSession) type(Seal) type(Background) type(Options) type(Outlet)
#define RECEIVING_SLOTS(slot)                                                                                          \
    slot(ReceiverCore, _books) slot(ReceiverCore, _keys) slot(ReceiverCore, _mask) slot(ReceiverCore, _max_age_us)     \
    slot(ReceiverCore, _shards) slot(ReceiverCore, _table) slot(ReceiverCore, _unfinished)                             \
    slot(ReceiverCore, _wall_us) slot(ReceiverCore, in_hand) slot(SessionTable, sessions) slot(SessionState, account)  \
    slot(SessionState, datagrams) slot(SessionState, efloor) slot(SessionState, factory)                               \
    slot(SessionState, gaps_leave_at) slot(SessionState, last_seen) slot(SessionState, max_sent_us)                    \
    slot(SessionState, seal) slot(SessionState, session) slot(SessionState, window) slot(ReplayWindow, highest)        \
    slot(ReplayWindow, unseen) slot(SessionAccount, accepted) slot(SessionAccount, end) slot(Books, accepted)          \
    slot(Books, datagrams_in) slot(Arrival, received_us) slot(Arrival, sent_us) slot(Arrival, sequence)                \
    slot(Arrival, session) slot(Message, arrival)
#define RECEIVING_TYPES(type)                                                                                          \
    type(ReceiverCore) type(SessionTable) type(SessionState) type(ReplayWindow) type(SessionAccount) type(Books)       \
    type(Arrival) type(Message)
#define STRINGS(string)                                                                                                \
    string(_after_refusal) string(_first_in) string(_hand_over) string(_offer) string(_send)                           \
    string(_send_the_long_way) string(_tend) string(append) string(clock) string(here) string(next_deadline) string(refused) string(wake_at)

typedef struct {
    PyTypeObject *hot_type;
    int sends, receives; /* whether `bind_sending` and `bind_receiving` have succeeded */
#define declare(name) PyTypeObject *name;
    SENDING_TYPES(declare)
    RECEIVING_TYPES(declare)
#undef declare
#define declare(type, name) Py_ssize_t type##_##name;
    SENDING_SLOTS(declare)
    RECEIVING_SLOTS(declare)
#undef declare
#define declare(name) PyObject *str_##name;
    STRINGS(declare)
#undef declare
    PyObject *here;               /* the page of `atmost.lifecycle`, kept alive by `here_view` */
    Py_buffer here_view;
    PyObject *wall_clock;         /* the clock of outlets that read the system's */
    PyTypeObject *socket_type;    /* _socket.socket */
    PyObject *fileno;             /* its method */
    PyMethodDef *socket_send;     /* the definition of its `send` */
    PyObject *errorcode;          /* errno.errorcode */
    PyObject *decode;             /* the body of a datagram to a list of Message */
    PyObject *decoding_errors;    /* a tuple: what it raises for hostile bytes */
    PyObject *no_gap;             /* NO_GAP of core/sessions.py */
    PyObject *zero, *one, *nothing;
    PyObject *after_data;         /* BEACON_AFTER_DATA as an object */
    double immediate_every, beacon_after_data, beacon_under_load;
    uint8_t item[LARGEST + 1];    /* a message while it is encoded */
    uint8_t datagram[LARGEST + 1];
    Py_ssize_t swelling, queued_bytes; /* of endpoint/intake.py and core/limits.py */
    void *spare;                       /* a buffer that no call of `drain` uses now */
} State;

/* A slot of an object whose type is known. */
#define AT(state, object, slot) (*(PyObject **)((char *)(object) + (state)->slot))

static inline void
put(PyObject **slot, PyObject *value) /* steals `value` */
{
    PyObject *before = *slot;
    *slot = value;
    Py_XDECREF(before);
}

static inline int
is_float(PyObject *value, double *result)
{
    if (value == NULL)
        return 0;
    if (PyFloat_CheckExact(value)) {
        *result = PyFloat_AS_DOUBLE(value);
        return 1;
    }
    if (!PyLong_CheckExact(value))
        return 0;
    *result = PyLong_AsDouble(value);
    if (*result == -1.0 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

static inline int
is_unsigned(PyObject *value, uint64_t *result)
{
    if (value == NULL || !PyLong_CheckExact(value))
        return 0;
    *result = PyLong_AsUnsignedLongLong(value);
    if (*result == (uint64_t)-1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

static inline int
is_size(PyObject *value, Py_ssize_t *result)
{
    if (value == NULL || !PyLong_CheckExact(value))
        return 0;
    *result = PyLong_AsSsize_t(value);
    if (*result == -1 && PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return 1;
}

static inline void
write_big(uint8_t *at, uint64_t value, int bytes)
{
    for (int number = bytes - 1; number >= 0; number--, value >>= 8)
        at[number] = (uint8_t)value;
}

static inline uint64_t
read_big(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int number = 0; number < bytes; number++)
        value = value << 8 | at[number];
    return value;
}

/* Whether somebody watches the lines or calls of this thread. */
static inline int
is_watched(void)
{
    PyThreadState *thread = PyThreadState_Get();
    return thread->c_tracefunc != NULL || thread->c_profilefunc != NULL;
}

/* The number of this process in its line of forks, as `HERE[0]` of atmost/lifecycle.py has it: 0 where a fork has yet to be noticed (R8). */
static inline uint8_t
here_now(const State *state)
{
    return ((const volatile uint8_t *)state->here_view.buf)[0];
}

/* Whether this process is the one whose objects these are (R8). */
static inline int
is_here(const State *state)
{
    return here_now(state) != 0;
}

#endif
