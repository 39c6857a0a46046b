#include "digest.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <random>

namespace erprm {
namespace {

using Word = std::uint64_t;
using Wide = unsigned __int128;

static_assert(std::endian::native == std::endian::little, "`short_text` takes the first byte for the least significant one");

constexpr Word prime = (Word{1} << 61) - 1;
constexpr std::size_t block_bytes = 128, pair_bytes = 32;

// The same modulo the prime, below 2^61 + 8.
Word folded(Word value) { return (value & prime) + (value >> 61); }

// a * b + more modulo the prime, below 2^61 + 8; for a * b < 2^124.
Word multiply_add(Word a, Word b, Word more) {
    const Wide sum = Wide{a} * b + more;
    return folded((static_cast<Word>(sum) & prime) + static_cast<Word>(sum >> 61));
}

Word reduced(Word value) {  // of less than 2^61 + 8
    return value >= prime ? value - prime : value;
}

struct Half {
    Word text, end;              // points below 2^60
    std::array<Word, 64> path;   // powers of a point, from the first on
};

struct Secret {
    std::array<Word, block_bytes / 8 + 4> keys;  // two for the length, one per word of a block, two for the shift
    Half first, second;
};

const Secret secret = [] {
    std::random_device source;
    const auto word = [&] { return Word{source()} << 32 | source(); };
    const auto point = [&] { return word() >> 4; };
    const auto half = [&] {
        Half drawn{point(), point(), {}};
        Word power = 1;
        std::ranges::generate(drawn.path, [&power, base = point()] { return power = reduced(multiply_add(power, base, 0)); });
        return drawn;
    };
    Secret drawn{};
    std::ranges::generate(drawn.keys, word);
    drawn.first = half();
    drawn.second = half();
    return drawn;
}();

// By which the digest of the step after `depth` others is multiplied.
Word path_power(const Half& half, std::size_t depth) {
    Word power = half.path[depth % half.path.size()];
    for (; depth >= half.path.size(); depth -= half.path.size()) {
        power = reduced(multiply_add(power, half.path.back(), 0));
    }
    return power;
}

template <class T>
Word load(const char* bytes) {
    T value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

// The two sums of a block.
struct Sums {
    Wide first = 0, second = 0;

    void add(Word a, Word b, const Word* keys) {
        first += Wide{a + keys[0]} * (b + keys[1]);
        second += Wide{a + keys[2]} * (b + keys[3]);
    }

    void add(const char* bytes, const Word* keys) { add(load<Word>(bytes), load<Word>(bytes + 8), keys); }

    // The bytes begin .. end - 1 of a text of `size`, at most a block: without reading outside of the text. Its last words are
    // added whether or not they were read in part; with its size that says the same.
    void add(const char* begin, const char* end, std::size_t size) {
        const Word* keys = secret.keys.data() + 2;
        for (; begin + pair_bytes < end; begin += pair_bytes, keys += 4) {
            add(begin, keys);
            add(begin + 16, keys + 2);
        }
        if (size >= pair_bytes) {
            add(end - 32, keys);
            add(end - 16, keys + 2);
        } else if (size > 16) {
            add(begin, keys);
            add(end - 16, keys + 2);
        } else if (size >= 8) {
            add(load<Word>(begin), load<Word>(end - 8), keys);
        } else if (size >= 4) {
            add(load<std::uint32_t>(begin), load<std::uint32_t>(end - 4), keys);
        } else if (size > 0) {
            add(load<std::uint8_t>(begin) | load<std::uint8_t>(begin + size / 2) << 8, load<std::uint8_t>(end - 1), keys);
        }
    }
};

// What a polynomial is after the two coefficients that a block's sum gives.
Word continued(Word value, Wide sum, Word point) {
    return multiply_add(multiply_add(value, point, static_cast<Word>(sum >> 64)), point, static_cast<Word>(sum));
}

}  // namespace

Digest digest(std::string_view bytes, unsigned width) {
    const char* const begin = bytes.data();
    const std::size_t size = bytes.size();
    Sums sums;
    sums.add(width, size, secret.keys.data());
    sums.add(begin, begin + std::min(size, block_bytes), size);
    Word first = multiply_add(static_cast<Word>(sums.first >> 64), secret.first.text, static_cast<Word>(sums.first));
    Word second = multiply_add(static_cast<Word>(sums.second >> 64), secret.second.text, static_cast<Word>(sums.second));
    for (std::size_t done = block_bytes; done < size; done += block_bytes) {
        sums = {};
        sums.add(begin + done, begin + std::min(size, done + block_bytes), size);
        first = continued(first, sums.first, secret.first.text);
        second = continued(second, sums.second, secret.second.text);
    }
    return {reduced(first), reduced(second)};
}

Digest extended(const Digest& parent, const Digest& step, std::size_t depth, bool ends) {
    const auto half = [&](const Half& points, Word above, Word here) {
        return reduced(folded(multiply_add(here, path_power(points, depth), ends ? points.end : 0) + above));
    };
    return {half(secret.first, parent.first, step.first), half(secret.second, parent.second, step.second)};
}

}  // namespace erprm
