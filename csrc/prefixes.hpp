// The trie of prefixes: which nodes there are and how they hang together. Without counts and without a lock.
//
// A node is interned by the digest of its step under its parent's digest, so the same prefix reached by many solutions is
// one node, and no text is kept. A solution that *ends* after a step has a node of its own there.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "column.hpp"
#include "digest.hpp"

namespace erprm {

class Prefixes {
public:
    static constexpr std::uint32_t none = UINT32_MAX;
    static constexpr std::int64_t max_nodes = INT32_MAX;

    Prefixes();

    static Digest problem_address(std::string_view key);
    // The addresses of a solution's prefixes below a node; the table is asked for them meanwhile, so that `find` does not wait.
    void addresses(std::uint32_t root, std::span<const std::string_view> steps, bool finished, std::span<Digest> found) const;

    std::uint32_t find(const Digest& address) const;                           // none when it is not there
    std::uint32_t insert(const Digest& address, std::uint32_t parent = none);  // without a parent: a problem's root

    std::size_t size() const { return links_.size(); }
    std::size_t problems() const { return roots_.size(); }
    std::uint32_t root(std::uint32_t problem) const { return roots_[problem]; }
    std::uint32_t problem(std::uint32_t node) const { return links_[node].problem; }
    std::uint32_t parent(std::uint32_t node) const { return static_cast<std::uint32_t>(parents_.values()[node]); }  // none: a root
    std::uint32_t first_child(std::uint32_t node) const { return links_[node].first_child; }
    std::uint32_t next_sibling(std::uint32_t node) const { return links_[node].next_sibling; }
    const Column<std::int64_t>& parents() const { return parents_; }
    const Column<std::int32_t>& depths() const { return depths_; }
    std::int64_t bytes() const;

private:
    struct Link {
        Digest address;
        std::uint32_t first_child, last_child, next_sibling, problem;
    };
    struct Entry {
        std::uint32_t tag;  // of the address, so that most unequal ones are told apart without reading the link
        std::uint32_t node;
    };

    void make_room();
    void place(const Digest& address, std::uint32_t node);

    std::vector<Link> links_;
    std::vector<Entry> table_;  // open addressing, at most half full
    std::vector<std::uint32_t> roots_;
    Column<std::int64_t> parents_;  // -1 for roots
    Column<std::int32_t> depths_;
};

}  // namespace erprm
