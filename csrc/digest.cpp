#include "digest.hpp"

#include <bit>
#include <cstddef>

namespace erprm {
namespace {

struct State {
    std::uint64_t a, b, c, d;

    void rounds(int count) {
        for (int round = 0; round < count; ++round) {
            a += b; b = std::rotl(b, 13); b ^= a; a = std::rotl(a, 32);
            c += d; d = std::rotl(d, 16); d ^= c;
            a += d; d = std::rotl(d, 21); d ^= a;
            c += b; b = std::rotl(b, 17); b ^= c; c = std::rotl(c, 32);
        }
    }

    void absorb(std::uint64_t word) {
        d ^= word;
        rounds(1);
        a ^= word;
    }

    std::uint64_t squeeze() {
        rounds(3);
        return a ^ b ^ c ^ d;
    }
};

// Up to eight bytes, least significant first, on any machine; compilers turn the full case into one load.
std::uint64_t little_endian(const char* bytes, std::size_t count) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < count; ++i) {
        word |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
    }
    return word;
}

}  // namespace

Digest digest(Digest key, std::string_view text) {
    State state{key.low ^ 0x736f6d6570736575ULL, key.high ^ 0x646f72616e646f6dULL ^ 0xee,
                key.low ^ 0x6c7967656e657261ULL, key.high ^ 0x7465646279746573ULL};
    const std::size_t whole = text.size() / 8 * 8;
    for (std::size_t at = 0; at < whole; at += 8) {
        state.absorb(little_endian(text.data() + at, 8));
    }
    const std::uint64_t length = static_cast<std::uint64_t>(text.size()) << 56;
    state.absorb(length | little_endian(text.data() + whole, text.size() - whole));
    state.c ^= 0xee;
    const std::uint64_t low = state.squeeze();
    state.b ^= 0xdd;
    return {low, state.squeeze()};
}

}  // namespace erprm
