#include "prefixes.hpp"

#include "errors.hpp"
#include "growth.hpp"

namespace erprm {
namespace {

constexpr Digest problem_key{0x6572707200000001ULL, 0};     // any constant: no two kinds of node share a key
constexpr std::uint64_t ended_key = 0x6572707200000002ULL;  // added to the parent's address for an ended solution

}  // namespace

Prefixes::Prefixes() { table_.assign(64, Entry{0, none}); }

Digest Prefixes::problem_address(std::string_view key) { return digest(problem_key, key); }

void Prefixes::addresses(std::uint32_t root, std::span<const std::string_view> steps, bool finished, std::span<Digest> found) const {
    Digest key = links_[root].address;
    for (std::size_t j = 0; j < steps.size(); ++j) {
        if (finished && j + 1 == steps.size()) {
            key.high += ended_key;
        }
        key = found[j] = digest(key, steps[j]);
        __builtin_prefetch(&table_[key.low & (table_.size() - 1)]);
    }
}

std::uint32_t Prefixes::find(const Digest& address) const {
    const std::size_t mask = table_.size() - 1;
    const auto tag = static_cast<std::uint32_t>(address.high);
    for (std::size_t at = address.low & mask; table_[at].node != none; at = (at + 1) & mask) {
        if (table_[at].tag == tag && links_[table_[at].node].address == address) {
            return table_[at].node;
        }
    }
    return none;
}

void Prefixes::place(const Digest& address, std::uint32_t node) {
    const std::size_t mask = table_.size() - 1;
    std::size_t at = address.low & mask;
    while (table_[at].node != none) {
        at = (at + 1) & mask;
    }
    table_[at] = {static_cast<std::uint32_t>(address.high), node};
}

// Allocates everything that one more node may need, so that adding it cannot fail half-way.
void Prefixes::make_room() {
    if (static_cast<std::int64_t>(size()) >= max_nodes) {
        throw std::invalid_argument("ledger: it holds at most 2147483647 prefixes");
    }
    grow(links_);
    grow(roots_);
    grow(parents_.writable());
    grow(depths_.writable());
    if (2 * (size() + 1) > table_.size()) {
        std::vector<Entry> wider(2 * table_.size(), Entry{0, none});
        table_.swap(wider);
        for (std::uint32_t node = 0; node < size(); ++node) {
            place(links_[node].address, node);
        }
    }
}

std::uint32_t Prefixes::insert(const Digest& address, std::uint32_t parent) {
    make_room();
    const auto node = static_cast<std::uint32_t>(size());
    if (parent == none) {
        links_.push_back({address, none, none, none, static_cast<std::uint32_t>(roots_.size())});
        roots_.push_back(node);
    } else {
        Link& above = links_[parent];
        (above.first_child == none ? above.first_child : links_[above.last_child].next_sibling) = node;
        above.last_child = node;
        links_.push_back({address, none, none, none, above.problem});
    }
    parents_.writable().push_back(parent == none ? -1 : static_cast<std::int64_t>(parent));
    depths_.writable().push_back(parent == none ? 0 : depths_.values()[parent] + 1);
    place(address, node);
    return node;
}

std::int64_t Prefixes::bytes() const {
    return bytes_of(links_) + bytes_of(table_) + bytes_of(roots_) + bytes_of(parents_.values()) + bytes_of(depths_.values());
}

}  // namespace erprm
