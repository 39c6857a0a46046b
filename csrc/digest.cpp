#include "digest.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstring>
#include <random>

namespace erprm {
namespace {

using Wide = unsigned __int128;

static_assert(std::endian::native == std::endian::little, "`tail` takes the first byte for the least significant one");

constexpr Wide prime = (Wide{1} << 127) - 1;
constexpr std::size_t block_words = 16;

struct Secret {
    std::array<std::uint64_t, block_words + 4> keys;  // two for the length, one per word of a block, two for the shift
    Wide text, path, end;                             // points below 2^125
};

const Secret secret = [] {
    std::random_device source;
    const auto word = [&] { return std::uint64_t{source()} << 32 | source(); };
    const auto point = [&] { return (Wide{word()} << 64 | word()) >> 3; };
    Secret drawn{};
    std::ranges::generate(drawn.keys, word);
    drawn.text = point();
    drawn.path = point();
    drawn.end = point();
    return drawn;
}();

std::uint64_t low_of(Wide value) { return static_cast<std::uint64_t>(value); }
std::uint64_t high_of(Wide value) { return static_cast<std::uint64_t>(value >> 64); }

// The same modulo the prime, at most 2^127.
Wide folded(Wide value) { return (value & prime) + (value >> 127); }

// a * point + more modulo the prime, at most 2^127; for a <= 2^127, point < 2^125, more < 2^126.
Wide multiply_add(Wide a, Wide point, Wide more) {
    const Wide low = Wide{low_of(a)} * low_of(point);
    const Wide middle = Wide{low_of(a)} * high_of(point) + Wide{high_of(a)} * low_of(point) + high_of(low);  // below 2^128
    const Wide high = Wide{high_of(a)} * high_of(point) + high_of(middle);  // of 2^128, which is 2; below 2^125
    const Wide rest = middle << 64 | low_of(low);
    return folded((rest & prime) + (2 * high + more + (rest >> 127)));
}

Digest reduced(Wide value) {  // of at most 2^127
    if (value >= prime) {
        value -= prime;
    }
    return {low_of(value), high_of(value)};
}

template <class Word>
Wide load(const char* bytes) {
    Word word;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

// The last `count` bytes, 1 to 16 of them, of a text of `size`: without a loop and without reading outside of it.
Wide tail(const char* end, std::size_t count, std::size_t size) {
    if (size >= 16) {
        return load<Wide>(end - 16) >> (8 * (16 - count));
    }
    if (count >= 8) {  // from here on the text is its tail
        return load<std::uint64_t>(end - count) | load<std::uint64_t>(end - 8) >> (8 * (16 - count)) << 64;
    }
    if (count >= 4) {
        return load<std::uint32_t>(end - count) | load<std::uint32_t>(end - 4) << 32;
    }
    return load<std::uint8_t>(end - count) | load<std::uint8_t>(end - (count + 1) / 2) << 8 | load<std::uint8_t>(end - 1) << 16;
}

// The two sums of a block.
struct Sums {
    Wide first = 0, second = 0;

    void add(Wide words, const std::uint64_t* keys) {
        const std::uint64_t a = low_of(words), b = high_of(words);
        first += Wide{a + keys[0]} * (b + keys[1]);
        second += Wide{a + keys[2]} * (b + keys[3]);
    }
};

}  // namespace

Digest digest(std::string_view bytes, unsigned width) {
    constexpr Wide kept = (Wide{1} << 126) - 1;
    const char* at = bytes.data();
    std::size_t left = bytes.size();
    Wide value = 0;
    Sums sums;
    sums.add(Wide{width} << 64 | bytes.size(), secret.keys.data());
    do {
        const std::uint64_t* keys = secret.keys.data() + 2;
        const std::uint64_t* const last = keys + block_words - 2;
        for (; left > 16 && keys < last; left -= 16, at += 16, keys += 2) {
            sums.add(load<Wide>(at), keys);
        }
        if (left != 0) {
            const std::size_t count = std::min<std::size_t>(left, 16);
            at += count;
            left -= count;
            sums.add(tail(at, count, bytes.size()), keys);
        }
        value = folded(value + (sums.first & kept));
        value = multiply_add(multiply_add(value, secret.text, sums.second & kept), secret.text, 0);
        sums = {};
    } while (left != 0);
    return reduced(value);
}

Digest extended(const Digest& parent, const Digest& step, bool ends) {
    const Wide here = multiply_add(Wide{parent.high} << 64 | parent.low, secret.path, ends ? secret.end : 0);
    return reduced(folded(here + (Wide{step.high} << 64 | step.low)));
}

}  // namespace erprm
