/* atmost._native: the compiled hot path; `atmost.compiled` loads it, docs/compiled.md says what it is, and hot.h how it stays exact. */
#include "hot.h"

#include "pack.h"
#include "take.h"

#ifndef Py_T_OBJECT_EX /* its name since 3.12 */
#define Py_T_OBJECT_EX T_OBJECT_EX
#endif

/* A function with a compiled twin: called, it is the twin, which calls the function for what is unusual; in all else it is the function. */

typedef PyObject *(*twin)(State *, PyObject *readable, PyObject *const *arguments, size_t given, PyObject *names);

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    PyObject *readable;
    PyObject *module;
    twin twin;
} Hot;

static const struct {
    const char *name;
    twin twin;
} twins[] = {{"send", send_hot}, {"outlet_send", outlet_send_hot}, {"receive", receive_hot}};

static PyObject *
hot_call(PyObject *self, PyObject *const *arguments, size_t given, PyObject *names)
{
    Hot *hot = (Hot *)self;
    if (hot->readable == NULL) { /* its module is being taken down */
        PyErr_SetString(PyExc_ReferenceError, "atmost: the function is gone");
        return NULL;
    }
    return hot->twin(PyModule_GetState(hot->module), hot->readable, arguments, given, names);
}

static int
hot_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((Hot *)self)->readable);
    Py_VISIT(((Hot *)self)->module);
    return 0;
}

static int
hot_clear(PyObject *self)
{
    Py_CLEAR(((Hot *)self)->readable);
    return 0; /* the module's state is needed for as long as the function can be called */
}

static void
hot_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_CLEAR(((Hot *)self)->readable);
    Py_CLEAR(((Hot *)self)->module);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyObject *
hot_bind(PyObject *self, PyObject *object, PyObject *Py_UNUSED(owner))
{
    return object == NULL || object == Py_None ? Py_NewRef(self) : PyMethod_New(self, object);
}

static PyObject *
hot_getattr(PyObject *self, PyObject *name)
{
    PyObject *readable = ((Hot *)self)->readable;
    if (readable == NULL || (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, "__wrapped__") == 0))
        return PyObject_GenericGetAttr(self, name);
    return PyObject_GetAttr(readable, name);
}

static PyMemberDef hot_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Hot, vectorcall), READONLY, NULL},
    {"__wrapped__", T_OBJECT, offsetof(Hot, readable), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot hot_slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_clear, hot_clear},
    {Py_tp_dealloc, hot_dealloc},
    {Py_tp_descr_get, hot_bind},
    {Py_tp_getattro, hot_getattr},
    {Py_tp_members, hot_members},
    {Py_tp_traverse, hot_traverse},
    {0, NULL},
};

static PyType_Spec hot_spec = {
    .name = "atmost._native.Hot",
    .basicsize = sizeof(Hot),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR
        | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = hot_slots,
};

static PyObject *
twin_of(PyObject *module, PyObject *arguments)
{
    const char *name;
    PyObject *readable;
    if (!PyArg_ParseTuple(arguments, "sO:twin", &name, &readable))
        return NULL;
    for (size_t at = 0; at < sizeof twins / sizeof *twins; at++)
        if (strcmp(name, twins[at].name) == 0) {
            PyTypeObject *type = ((State *)PyModule_GetState(module))->hot_type;
            Hot *hot = (Hot *)type->tp_alloc(type, 0);
            if (hot == NULL)
                return NULL;
            hot->vectorcall = hot_call;
            hot->readable = Py_NewRef(readable);
            hot->module = Py_NewRef(module);
            hot->twin = twins[at].twin;
            return (PyObject *)hot;
        }
    return PyErr_Format(PyExc_LookupError, "no compiled twin is called %s", name);
}

/* Binding: the types of the readable Python, and where their slots are. */

static int
find_slot(PyTypeObject *type, const char *name, Py_ssize_t *offset)
{
    PyObject *found = PyObject_GetAttrString((PyObject *)type, name);
    if (found == NULL)
        return 0;
    PyMemberDef *member = Py_IS_TYPE(found, &PyMemberDescr_Type) ? ((PyMemberDescrObject *)found)->d_member : NULL;
    Py_DECREF(found); /* the type keeps it */
    if (member == NULL || member->type != Py_T_OBJECT_EX) {
        PyErr_Format(PyExc_TypeError, "%s.%s is not a slot", type->tp_name, name);
        return 0;
    }
    *offset = member->offset;
    return 1;
}

static PyObject *
given_object(PyObject *given, const char *name)
{
    PyObject *value = PyDict_GetItemString(given, name);
    if (value == NULL)
        PyErr_Format(PyExc_KeyError, "%s", name);
    return value;
}

static int
given_type(PyObject *given, const char *name, PyTypeObject **type)
{
    PyObject *value = given_object(given, name);
    if (value == NULL)
        return 0;
    if (!PyType_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s is not a type", name);
        return 0;
    }
    Py_XSETREF(*type, (PyTypeObject *)Py_NewRef(value));
    return 1;
}

static int
given_float(PyObject *given, const char *name, double *number)
{
    PyObject *value = given_object(given, name);
    if (value == NULL)
        return 0;
    *number = PyFloat_AsDouble(value);
    return !(*number == -1.0 && PyErr_Occurred());
}

/* The page that tells forked processes apart. */
static int
given_page(State *state, PyObject *given)
{
    PyObject *page = given_object(given, "here");
    if (page == NULL || state->here == page)
        return page != NULL;
    if (state->here_view.obj != NULL)
        PyBuffer_Release(&state->here_view);
    state->here = NULL;
    if (PyObject_GetBuffer(page, &state->here_view, PyBUF_SIMPLE) < 0)
        return 0;
    state->here = page; /* the view keeps it */
    return 1;
}

static int
find_socket(State *state)
{
    PyObject *module = PyImport_ImportModule("_socket"), *type = NULL, *send = NULL, *errors = NULL;
    if (module != NULL)
        type = PyObject_GetAttrString(module, "socket");
    if (type != NULL && PyType_Check(type))
        send = PyObject_GetAttrString(type, "send");
    if (send != NULL && Py_IS_TYPE(send, &PyMethodDescr_Type)) {
        state->socket_send = ((PyMethodDescrObject *)send)->d_method;
        Py_XSETREF(state->socket_type, (PyTypeObject *)Py_NewRef(type));
        Py_XSETREF(state->fileno, PyObject_GetAttrString(type, "fileno"));
        errors = PyImport_ImportModule("errno");
        if (errors != NULL)
            Py_XSETREF(state->errorcode, PyObject_GetAttrString(errors, "errorcode"));
    }
    Py_XDECREF(module);
    Py_XDECREF(type);
    Py_XDECREF(send);
    Py_XDECREF(errors);
    if (state->fileno != NULL && state->errorcode != NULL && PyDict_CheckExact(state->errorcode))
        return 1;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_TypeError, "not the sockets of CPython");
    return 0;
}

static PyObject *
bind_sending(PyObject *module, PyObject *given)
{
    State *state = PyModule_GetState(module);
    if (!PyDict_Check(given))
        return PyErr_Format(PyExc_TypeError, "names and objects are given as a dictionary");
    state->sends = 0;
#define find(name)                                                                                                     \
    if (!given_type(given, #name, &state->name))                                                                       \
        return NULL;
    SENDING_TYPES(find)
#undef find
#define find(type, name)                                                                                               \
    if (!find_slot(state->type, #name, &state->type##_##name))                                                         \
        return NULL;
    SENDING_SLOTS(find)
#undef find
    PyObject *clock = given_object(given, "wall_clock");
    if (clock == NULL || !given_page(state, given) || !given_float(given, "immediate_every", &state->immediate_every)
        || !given_float(given, "beacon_after_data", &state->beacon_after_data)
        || !given_float(given, "beacon_under_load", &state->beacon_under_load) || !find_socket(state))
        return NULL;
    Py_XSETREF(state->wall_clock, Py_NewRef(clock));
    Py_XSETREF(state->after_data, PyFloat_FromDouble(state->beacon_after_data));
    if (state->after_data == NULL)
        return NULL;
    state->sends = 1;
    Py_RETURN_NONE;
}

static PyObject *
bind_receiving(PyObject *module, PyObject *given)
{
    State *state = PyModule_GetState(module);
    if (!PyDict_Check(given))
        return PyErr_Format(PyExc_TypeError, "names and objects are given as a dictionary");
    state->receives = 0;
#define find(name)                                                                                                     \
    if (!given_type(given, #name, &state->name))                                                                       \
        return NULL;
    find(Seal)
    RECEIVING_TYPES(find)
#undef find
#define find(type, name)                                                                                               \
    if (!find_slot(state->type, #name, &state->type##_##name))                                                         \
        return NULL;
    find(Seal, _seed)
    RECEIVING_SLOTS(find)
#undef find
    PyObject *decode = given_object(given, "decode"), *no_gap = decode == NULL ? NULL : given_object(given, "no_gap");
    PyObject *errors = no_gap == NULL ? NULL : given_object(given, "decoding_errors");
    if (errors == NULL || !given_page(state, given))
        return NULL;
    double swelling, queued_bytes;
    if (!given_float(given, "swelling", &swelling) || !given_float(given, "queued_bytes", &queued_bytes))
        return NULL;
    state->swelling = (Py_ssize_t)swelling;
    state->queued_bytes = (Py_ssize_t)queued_bytes;
    Py_XSETREF(state->decode, Py_NewRef(decode));
    Py_XSETREF(state->no_gap, Py_NewRef(no_gap));
    Py_XSETREF(state->decoding_errors, Py_NewRef(errors));
    state->receives = 1;
    Py_RETURN_NONE;
}

/* The parts, for tests: what they make is compared with what the readable Python makes. */

static PyObject *
tag(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer data;
    unsigned long long seed;
    uint8_t result[TAG];
    if (!PyArg_ParseTuple(arguments, "y*K:tag", &data, &seed))
        return NULL;
    int enough = data.len > 16;
    if (enough)
        xxh3_tag(data.buf, (size_t)data.len, seed, result);
    PyBuffer_Release(&data);
    return enough ? PyBytes_FromStringAndSize((const char *)result, TAG)
                  : PyErr_Format(PyExc_ValueError, "a datagram has more than 16 bytes");
}

static PyObject *
many_array_keys(PyObject *Py_UNUSED(module), PyObject *arguments)
{
    Py_buffer body;
    Py_ssize_t count;
    if (!PyArg_ParseTuple(arguments, "y*n:many_array_keys", &body, &count))
        return NULL;
    int answer = has_many_array_keys(body.buf, body.len, count);
    PyBuffer_Release(&body);
    return answer < 0 ? Py_NewRef(Py_None) : PyBool_FromLong(answer);
}

static PyObject *
encode(PyObject *module, PyObject *arguments)
{
    State *state = PyModule_GetState(module);
    PyObject *subject, *payload;
    if (!PyArg_ParseTuple(arguments, "UO:encode", &subject, &payload))
        return NULL;
    Py_ssize_t length = encode_pair(state, subject, payload);
    if (length < 0)
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize((const char *)state->item, length);
}

/* The module. */

static PyMethodDef methods[] = {
    {"twin", twin_of, METH_VARARGS, PyDoc_STR("twin(name, function): the function, compiled for the usual case.")},
    {"bind_sending", bind_sending, METH_O, PyDoc_STR("bind_sending(objects): the types and constants of the sender.")},
    {"bind_receiving", bind_receiving, METH_O, PyDoc_STR("bind_receiving(objects): those of the receiver.")},
    {"drain", (PyCFunction)(void (*)(void))drain, METH_FASTCALL,
        PyDoc_STR("drain(core, descriptor, queue, ahead, now, wall_us, total, goal, light, left, until): takes what waits at a socket.")},
    {"tag", tag, METH_VARARGS, PyDoc_STR("tag(data, seed): the checksum behind a datagram without a key.")},
    {"many_array_keys", many_array_keys, METH_VARARGS,
        PyDoc_STR("many_array_keys(body, count): whether a body must not be decoded; None when it is nested very deep.")},
    {"encode", encode, METH_VARARGS, PyDoc_STR("encode(subject, payload): the pair as bytes, None for unusual types.")},
    {NULL, NULL, 0, NULL},
};

/* What the Python half expects of this one: raise it, there and here, with every change of the names and arguments between the two. */
#define INTERFACE 3

static int
execute(PyObject *module)
{
    State *state = PyModule_GetState(module);
    if (PyModule_AddIntConstant(module, "INTERFACE", INTERFACE) < 0)
        return -1;
    state->hot_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &hot_spec, NULL);
    state->zero = PyLong_FromLong(0);
    state->one = PyLong_FromLong(1);
    state->nothing = PyTuple_New(0);
    if (state->hot_type == NULL || state->zero == NULL || state->one == NULL || state->nothing == NULL)
        return -1;
#define intern(name)                                                                                                   \
    if ((state->str_##name = PyUnicode_InternFromString(#name)) == NULL)                                               \
        return -1;
    STRINGS(intern)
#undef intern
    return 0;
}

static int
traverse(PyObject *module, visitproc visit, void *arg)
{
    State *state = PyModule_GetState(module);
    Py_VISIT(state->hot_type);
#define visit_type(name) Py_VISIT(state->name);
    SENDING_TYPES(visit_type)
    RECEIVING_TYPES(visit_type)
#undef visit_type
    Py_VISIT(state->wall_clock);
    Py_VISIT(state->socket_type);
    Py_VISIT(state->fileno);
    Py_VISIT(state->errorcode);
    Py_VISIT(state->decode);
    Py_VISIT(state->decoding_errors);
    return 0;
}

/* Not tp_clear: the functions hold the module, and need its state until they are gone. */
static void
release(void *module)
{
    State *state = PyModule_GetState(module);
    Py_CLEAR(state->hot_type);
#define clear(name) Py_CLEAR(state->name);
    SENDING_TYPES(clear)
    RECEIVING_TYPES(clear)
#undef clear
#define clear(name) Py_CLEAR(state->str_##name);
    STRINGS(clear)
#undef clear
    Py_CLEAR(state->wall_clock);
    Py_CLEAR(state->socket_type);
    Py_CLEAR(state->fileno);
    Py_CLEAR(state->errorcode);
    Py_CLEAR(state->decode);
    Py_CLEAR(state->decoding_errors);
    Py_CLEAR(state->no_gap);
    Py_CLEAR(state->zero);
    Py_CLEAR(state->one);
    Py_CLEAR(state->nothing);
    Py_CLEAR(state->after_data);
    if (state->here_view.obj != NULL)
        PyBuffer_Release(&state->here_view);
    PyMem_RawFree(state->spare);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, execute},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#ifdef Py_mod_gil /* a step is exact because the interpreter's lock is held; without one, `atmost.compiled` does not load this */
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "atmost._native",
    .m_doc = "The compiled hot path; see atmost.compiled.",
    .m_size = sizeof(State),
    .m_methods = methods,
    .m_slots = module_slots,
    .m_traverse = traverse,
    .m_free = release,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
