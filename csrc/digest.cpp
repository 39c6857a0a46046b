#include "digest.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace erprm {
namespace {

static_assert(std::endian::native == std::endian::little, "BLAKE2b reads little-endian words in place");

using State = std::array<std::uint64_t, 8>;

constexpr std::size_t block_bytes = 128;
constexpr std::size_t digest_bytes = 16;
constexpr State initial{0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
                        0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
constexpr std::uint8_t order[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

void mix(std::uint64_t& a, std::uint64_t& b, std::uint64_t& c, std::uint64_t& d, std::uint64_t x, std::uint64_t y) {
    a += b + x;
    d = std::rotr(d ^ a, 32);
    c += d;
    b = std::rotr(b ^ c, 24);
    a += b + y;
    d = std::rotr(d ^ a, 16);
    c += d;
    b = std::rotr(b ^ c, 63);
}

void compress(State& state, const char* block, std::uint64_t bytes_so_far, bool last) {
    std::array<std::uint64_t, 16> words;
    std::memcpy(words.data(), block, block_bytes);
    std::array<std::uint64_t, 16> v;
    std::ranges::copy(state, v.begin());
    std::ranges::copy(initial, v.begin() + 8);
    v[12] ^= bytes_so_far;
    v[14] ^= last ? ~std::uint64_t{0} : 0;
#pragma GCC unroll 12
    for (std::size_t round = 0; round < 12; ++round) {
        const auto& at = order[round % 10];
        mix(v[0], v[4], v[8], v[12], words[at[0]], words[at[1]]);
        mix(v[1], v[5], v[9], v[13], words[at[2]], words[at[3]]);
        mix(v[2], v[6], v[10], v[14], words[at[4]], words[at[5]]);
        mix(v[3], v[7], v[11], v[15], words[at[6]], words[at[7]]);
        mix(v[0], v[5], v[10], v[15], words[at[8]], words[at[9]]);
        mix(v[1], v[6], v[11], v[12], words[at[10]], words[at[11]]);
        mix(v[2], v[7], v[8], v[13], words[at[12]], words[at[13]]);
        mix(v[3], v[4], v[9], v[14], words[at[14]], words[at[15]]);
    }
    for (std::size_t i = 0; i < state.size(); ++i) {
        state[i] ^= v[i] ^ v[i + 8];
    }
}

}  // namespace

Key blake2b(std::initializer_list<std::string_view> parts) {
    State state = initial;
    state[0] ^= 0x01010000 ^ digest_bytes;
    std::array<char, block_bytes> block{};
    std::size_t filled = 0;
    std::uint64_t bytes = 0;
    for (std::string_view part : parts) {
        while (!part.empty()) {
            if (filled == block_bytes) {  // the last block is compressed below, full or not
                compress(state, block.data(), bytes, false);
                filled = 0;
            }
            const std::size_t taken = std::min(part.size(), block_bytes - filled);
            std::memcpy(block.data() + filled, part.data(), taken);
            part.remove_prefix(taken);
            filled += taken;
            bytes += taken;
        }
    }
    std::memset(block.data() + filled, 0, block_bytes - filled);
    compress(state, block.data(), bytes, true);
    return {state[0], state[1]};
}

Key problem_key(std::string_view name) { return blake2b({"p", name}); }

Key step_key(const Key& parent, std::string_view step, bool ends) {
    std::array<char, sizeof(Key)> before;
    std::memcpy(before.data(), &parent, sizeof(Key));
    return blake2b({ends ? "e" : "s", {before.data(), before.size()}, step});
}

}  // namespace erprm
