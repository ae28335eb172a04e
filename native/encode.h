/* The pair (subject, payload) as MessagePack, for exact built-in types: the bytes that msgspec makes, without running Python code. */
#ifndef ATMOST_ENCODE_H
#define ATMOST_ENCODE_H

#include "hot.h"

#define DEEPEST 32

typedef struct {
    uint8_t *at, *end;
} Writer;

static inline int
write_head(Writer *writer, uint8_t head, uint64_t value, int bytes)
{
    if (writer->end - writer->at < 1 + bytes)
        return 0;
    *writer->at++ = head;
    write_big(writer->at, value, bytes);
    writer->at += bytes;
    return 1;
}

static int
write_bytes(Writer *writer, const void *from, Py_ssize_t length)
{
    if (writer->end - writer->at < length)
        return 0;
    memcpy(writer->at, from, (size_t)length);
    writer->at += length;
    return 1;
}

static int
write_text(Writer *writer, PyObject *text)
{
    Py_ssize_t length;
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &length);
    if (utf8 == NULL) { /* a lone surrogate */
        PyErr_Clear();
        return 0;
    }
    uint64_t size = (uint64_t)length;
    int done = size < 32 ? write_head(writer, (uint8_t)(0xa0 | size), 0, 0)
        : size < 256     ? write_head(writer, 0xd9, size, 1)
        : size < 65536   ? write_head(writer, 0xda, size, 2)
                         : 0;
    return done && write_bytes(writer, utf8, length);
}

static int
write_whole(Writer *writer, PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow > 0) {
        uint64_t large;
        return is_unsigned(number, &large) && write_head(writer, 0xcf, large, 8);
    }
    if (overflow < 0)
        return 0;
    uint64_t bits = (uint64_t)value;
    if (value >= 0)
        return value < 128      ? write_head(writer, (uint8_t)value, 0, 0)
            : value < 256       ? write_head(writer, 0xcc, bits, 1)
            : value < 65536     ? write_head(writer, 0xcd, bits, 2)
            : value <= UINT32_MAX ? write_head(writer, 0xce, bits, 4)
                                : write_head(writer, 0xcf, bits, 8);
    return value >= -32         ? write_head(writer, (uint8_t)value, 0, 0)
        : value >= INT8_MIN     ? write_head(writer, 0xd0, bits, 1)
        : value >= INT16_MIN    ? write_head(writer, 0xd1, bits, 2)
        : value >= INT32_MIN    ? write_head(writer, 0xd2, bits, 4)
                                : write_head(writer, 0xd3, bits, 8);
}

/* Whether the value was written; 0 for what another type than an exact built-in one, or something too long or deep, makes unusual. */
static int
write_value(Writer *writer, PyObject *value, int depth)
{
    PyTypeObject *type = Py_TYPE(value);
    if (type == &PyBytes_Type) {
        uint64_t size = (uint64_t)PyBytes_GET_SIZE(value);
        int done = size < 256 ? write_head(writer, 0xc4, size, 1) : size < 65536 ? write_head(writer, 0xc5, size, 2) : 0;
        return done && write_bytes(writer, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    }
    if (type == &PyUnicode_Type)
        return write_text(writer, value);
    if (type == &PyLong_Type)
        return write_whole(writer, value);
    if (type == &PyFloat_Type) {
        uint64_t bits;
        double number = PyFloat_AS_DOUBLE(value);
        memcpy(&bits, &number, 8);
        return write_head(writer, 0xcb, bits, 8);
    }
    if (value == Py_None)
        return write_head(writer, 0xc0, 0, 0);
    if (type == &PyBool_Type)
        return write_head(writer, value == Py_True ? 0xc3 : 0xc2, 0, 0);
    if (depth == DEEPEST)
        return 0;
    if (type == &PyDict_Type) {
        PyObject *key, *each;
        Py_ssize_t place = 0;
        uint64_t size = (uint64_t)PyDict_GET_SIZE(value);
        if (!(size < 16 ? write_head(writer, (uint8_t)(0x80 | size), 0, 0)
                : size < 65536 && write_head(writer, 0xde, size, 2)))
            return 0;
        while (PyDict_Next(value, &place, &key, &each))
            if (!PyUnicode_CheckExact(key) || !write_text(writer, key) || !write_value(writer, each, depth + 1))
                return 0;
        return 1;
    }
    if (type != &PyList_Type && type != &PyTuple_Type)
        return 0;
    uint64_t size = (uint64_t)PySequence_Fast_GET_SIZE(value);
    if (!(size < 16 ? write_head(writer, (uint8_t)(0x90 | size), 0, 0)
            : size < 65536 && write_head(writer, 0xdc, size, 2)))
        return 0;
    for (Py_ssize_t at = 0; at < (Py_ssize_t)size; at++)
        if (!write_value(writer, PySequence_Fast_GET_ITEM(value, at), depth + 1))
            return 0;
    return 1;
}

/* Encodes the pair into `state->item`; returns its length, or -1 when it is unusual. */
static Py_ssize_t
encode_pair(State *state, PyObject *subject, PyObject *payload)
{
    Writer writer = {state->item, state->item + sizeof state->item};
    *writer.at++ = 0x92;
    if (!write_text(&writer, subject) || !write_value(&writer, payload, 0))
        return -1;
    return writer.at - state->item;
}

#endif
