/* XXH3, 128 bits, with a seed: the tag of a datagram without a key (docs/wire.md).
 *
 * After the specification of Yann Collet (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), for inputs of more than
 * 16 bytes: a datagram has a header of 48. The tests compare it with the library `xxhash` for every length up to some thousand.
 */
#ifndef ATMOST_XXH3_H
#define ATMOST_XXH3_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__SSE2__) && !defined(ATMOST_NO_SIMD)
#include <emmintrin.h>
#define ATMOST_SSE2 1
#endif

#define P32_1 0x9E3779B1U
#define P32_2 0x85EBCA77U
#define P32_3 0xC2B2AE3DU
#define P64_1 0x9E3779B185EBCA87ULL
#define P64_2 0xC2B2AE3D27D4EB4FULL
#define P64_3 0x165667B19E3779F9ULL
#define P64_4 0x85EBCA77C2B2AE63ULL
#define P64_5 0x27D4EB2F165667C5ULL

#define XXH3_SECRET 192
#define XXH3_STRIPE 64
#define XXH3_STRIPES_A_BLOCK ((XXH3_SECRET - XXH3_STRIPE) / 8)

typedef struct {
    uint64_t low, high;
} xxh3_pair;

static const uint8_t xxh3_secret[XXH3_SECRET] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9,
    0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78,
    0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6,
    0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f,
    0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31,
    0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff,
    0xfa, 0x13, 0x63, 0xeb, 0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f,
    0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};

static inline uint64_t
xxh3_read(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, 8);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    return value;
}

static inline void
xxh3_write(uint8_t *at, uint64_t value)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    value = __builtin_bswap64(value);
#endif
    memcpy(at, &value, 8);
}

/* The product of 128 bits, its halves joined by exclusive or. */
static inline uint64_t
xxh3_fold(uint64_t a, uint64_t b)
{
#if defined(__SIZEOF_INT128__)
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    uint64_t a0 = a & 0xFFFFFFFF, a1 = a >> 32, b0 = b & 0xFFFFFFFF, b1 = b >> 32;
    uint64_t low = a0 * b0, middle = a1 * b0, other = a0 * b1, high = a1 * b1;
    uint64_t cross = (low >> 32) + (middle & 0xFFFFFFFF) + other;
    return ((cross << 32) | (low & 0xFFFFFFFF)) ^ ((middle >> 32) + (cross >> 32) + high);
#endif
}

static inline uint64_t
xxh3_avalanche(uint64_t h)
{
    h ^= h >> 37;
    h *= 0x165667919E3779F9ULL;
    return h ^ h >> 32;
}

static inline uint64_t
xxh3_mix16(const uint8_t *in, const uint8_t *secret, uint64_t seed)
{
    return xxh3_fold(xxh3_read(in) ^ (xxh3_read(secret) + seed), xxh3_read(in + 8) ^ (xxh3_read(secret + 8) - seed));
}

static inline xxh3_pair
xxh3_mix32(xxh3_pair acc, const uint8_t *one, const uint8_t *two, const uint8_t *secret, uint64_t seed)
{
    acc.low += xxh3_mix16(one, secret, seed);
    acc.low ^= xxh3_read(two) + xxh3_read(two + 8);
    acc.high += xxh3_mix16(two, secret + 16, seed);
    acc.high ^= xxh3_read(one) + xxh3_read(one + 8);
    return acc;
}

static xxh3_pair
xxh3_short(const uint8_t *in, size_t length, uint64_t seed) /* 17 to 240 bytes */
{
    const uint8_t *secret = xxh3_secret;
    xxh3_pair acc = {length * P64_1, 0}, result;
    if (length <= 128) {
        if (length > 32) {
            if (length > 64) {
                if (length > 96)
                    acc = xxh3_mix32(acc, in + 48, in + length - 64, secret + 96, seed);
                acc = xxh3_mix32(acc, in + 32, in + length - 48, secret + 64, seed);
            }
            acc = xxh3_mix32(acc, in + 16, in + length - 32, secret + 32, seed);
        }
        acc = xxh3_mix32(acc, in, in + length - 16, secret, seed);
    }
    else {
        size_t at;
        for (at = 32; at < 160; at += 32)
            acc = xxh3_mix32(acc, in + at - 32, in + at - 16, secret + at - 32, seed);
        acc.low = xxh3_avalanche(acc.low);
        acc.high = xxh3_avalanche(acc.high);
        for (at = 160; at <= length; at += 32)
            acc = xxh3_mix32(acc, in + at - 32, in + at - 16, secret + 3 + at - 160, seed);
        acc = xxh3_mix32(acc, in + length - 16, in + length - 32, secret + 103, (uint64_t)0 - seed);
    }
    result.low = acc.low + acc.high;
    result.high = acc.low * P64_1 + acc.high * P64_4 + (length - seed) * P64_2;
    result.low = xxh3_avalanche(result.low);
    result.high = (uint64_t)0 - xxh3_avalanche(result.high);
    return result;
}

static inline void
xxh3_accumulate(uint64_t *acc, const uint8_t *in, const uint8_t *secret)
{
#ifdef ATMOST_SSE2
    __m128i *lanes = (__m128i *)acc;
    for (int lane = 0; lane < 4; lane++) {
        __m128i data = _mm_loadu_si128((const __m128i *)in + lane);
        __m128i mixed = _mm_xor_si128(data, _mm_loadu_si128((const __m128i *)secret + lane));
        __m128i product = _mm_mul_epu32(mixed, _mm_shuffle_epi32(mixed, _MM_SHUFFLE(0, 3, 0, 1)));
        __m128i swapped = _mm_shuffle_epi32(data, _MM_SHUFFLE(1, 0, 3, 2));
        _mm_storeu_si128(lanes + lane, _mm_add_epi64(product, _mm_add_epi64(_mm_loadu_si128(lanes + lane), swapped)));
    }
#else
    for (int lane = 0; lane < 8; lane++) {
        uint64_t value = xxh3_read(in + 8 * lane), mixed = value ^ xxh3_read(secret + 8 * lane);
        acc[lane ^ 1] += value;
        acc[lane] += (mixed & 0xFFFFFFFF) * (mixed >> 32);
    }
#endif
}

static inline void
xxh3_scramble(uint64_t *acc, const uint8_t *secret)
{
    for (int lane = 0; lane < 8; lane++)
        acc[lane] = (acc[lane] ^ acc[lane] >> 47 ^ xxh3_read(secret + 8 * lane)) * P32_1;
}

static uint64_t
xxh3_merge(const uint64_t *acc, const uint8_t *secret, uint64_t start)
{
    for (int lane = 0; lane < 8; lane += 2)
        start += xxh3_fold(acc[lane] ^ xxh3_read(secret + 8 * lane), acc[lane + 1] ^ xxh3_read(secret + 8 * lane + 8));
    return xxh3_avalanche(start);
}

static xxh3_pair
xxh3_long(const uint8_t *in, size_t length, uint64_t seed)
{
    uint64_t acc[8] = {P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1};
    uint8_t own[XXH3_SECRET];
    const uint8_t *secret = xxh3_secret;
    if (seed) {
        for (int at = 0; at < XXH3_SECRET; at += 16) {
            xxh3_write(own + at, xxh3_read(xxh3_secret + at) + seed);
            xxh3_write(own + at + 8, xxh3_read(xxh3_secret + at + 8) - seed);
        }
        secret = own;
    }
    size_t stripes = (length - 1) / XXH3_STRIPE; /* the last one, full or not, is taken from the end */
    for (size_t stripe = 0; stripe < stripes; stripe++) {
        xxh3_accumulate(acc, in + stripe * XXH3_STRIPE, secret + stripe % XXH3_STRIPES_A_BLOCK * 8);
        if (stripe % XXH3_STRIPES_A_BLOCK == XXH3_STRIPES_A_BLOCK - 1)
            xxh3_scramble(acc, secret + XXH3_SECRET - XXH3_STRIPE);
    }
    xxh3_accumulate(acc, in + length - XXH3_STRIPE, secret + XXH3_SECRET - XXH3_STRIPE - 7);
    xxh3_pair result = {
        xxh3_merge(acc, secret + 11, length * P64_1),
        xxh3_merge(acc, secret + XXH3_SECRET - XXH3_STRIPE - 11, ~(length * P64_2)),
    };
    return result;
}

/* The tag of `length` bytes, more than 16, in canonical form: big endian, the high half first. */
static void
xxh3_tag(const uint8_t *in, size_t length, uint64_t seed, uint8_t tag[16])
{
    xxh3_pair hash = length <= 240 ? xxh3_short(in, length, seed) : xxh3_long(in, length, seed);
    for (int at = 0; at < 8; at++) {
        tag[at] = (uint8_t)(hash.high >> (56 - 8 * at));
        tag[8 + at] = (uint8_t)(hash.low >> (56 - 8 * at));
    }
}

#endif
