// The trie of prefixes: which nodes there are and how they hang together. Without counts and without a lock.
//
// A node is interned by the digest of the path that leads to it, so the same prefix reached by many solutions is one node,
// and no text is kept. A solution that *ends* after a step has a node of its own there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "column.hpp"
#include "digest.hpp"
#include "growth.hpp"

namespace erprm {

class Prefixes {
public:
    static constexpr std::uint32_t none = UINT32_MAX;
    static constexpr std::int64_t max_nodes = std::int64_t{1} << 31;

    Prefixes() { reserve(room()); }

    // Turns the digests of a solution's steps into those of its prefixes, and asks memory for where these belong.
    void address(std::uint32_t root, std::span<Digest> steps, bool finished) const;

    // How many nodes there may be; within the room, adding a child cannot fail.
    std::size_t room() const { return table_.size() / 4 * 3; }
    void widen(std::size_t nodes);  // to at least so many, and at least twice the room
    std::uint32_t find(const Digest& address) const { return table_[place(entry(address))].number - 1; }  // none: it is not there
    std::uint32_t root(const Digest& address);  // new or known; so is a child
    std::uint32_t child(const Digest& address, std::uint32_t parent, std::int32_t depth);

    std::size_t size() const { return links_.size(); }
    std::size_t problems() const { return roots_.size(); }
    std::uint32_t root_of(std::uint32_t problem) const { return roots_[problem].node; }
    std::uint32_t problem(std::uint32_t root) const { return links_[root].next_sibling; }
    std::uint32_t parent(std::uint32_t node) const { return static_cast<std::uint32_t>(parents_.values()[node]); }  // none: a root
    std::uint32_t first_child(std::uint32_t node) const { return links_[node].first_child; }
    std::uint32_t next_sibling(std::uint32_t node) const { return links_[node].next_sibling; }
    const Column<std::int64_t>& parents() const { return parents_; }
    const Column<std::int32_t>& depths() const { return depths_; }
    std::int64_t bytes() const;

private:
    struct Link {
        std::uint32_t first_child, last_child;
        std::uint32_t next_sibling;  // of a root: the number of its problem
    };
    struct Root {
        Digest address;
        std::uint32_t node;
    };
    struct Entry {
        std::uint64_t low;  // 96 bits of the address
        std::uint32_t high;
        std::uint32_t number;  // 1 + node, 0 for none
    };

    static Entry entry(const Digest& address, std::uint32_t number = 0) {
        return {address.first | address.second << 61, static_cast<std::uint32_t>(address.second >> 3), number};
    }
    std::size_t home(const Entry& entry) const { return entry.low & (table_.size() - 1); }
    // Where an address stands, or the empty place where it belongs.
    std::size_t place(const Entry& wanted) const {
        std::size_t at = home(wanted);
        while (table_[at].number != 0 && (table_[at].low != wanted.low || table_[at].high != wanted.high)) {
            at = (at + 1) & (table_.size() - 1);
        }
        return at;
    }
    void reserve(std::size_t nodes);
    std::uint32_t append(std::size_t place, const Digest& address, std::uint32_t parent, std::int32_t depth);

    Array<Link> links_;
    Array<Entry> table_{128};  // open addressing, at most three quarters full
    Array<Root> roots_;
    Column<std::int64_t> parents_;  // -1 for roots
    Column<std::int32_t> depths_;
};

}  // namespace erprm
