#include "prefixes.hpp"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

namespace erprm {

void Prefixes::address(std::uint32_t root, std::span<Digest> steps, bool finished) const {
    Digest path = roots_[problem(root)].address;
    for (std::size_t j = 0; j < steps.size(); ++j) {
        path = steps[j] = extended(path, steps[j], j, finished && j + 1 == steps.size());
        __builtin_prefetch(&table_[home(entry(path))]);
    }
}

void Prefixes::reserve(std::size_t nodes) {
    links_.reserve(nodes);
    parents_.writable().reserve(nodes);
    depths_.writable().reserve(nodes);
}

void Prefixes::widen(std::size_t nodes) {
    if (nodes > static_cast<std::size_t>(max_nodes)) {
        throw std::invalid_argument("ledger: it holds at most " + std::to_string(max_nodes) + " prefixes");
    }
    std::size_t size = 2 * table_.size();
    while (size / 4 * 3 < nodes) {
        size *= 2;
    }
    reserve(size / 4 * 3);
    const std::size_t before = table_.size();
    std::size_t begin = 0;  // where no entry stands further on than it belongs because of those before
    while (table_[begin].number != 0) {
        ++begin;
    }
    const std::vector<Entry> first(table_.data(), table_.data() + begin);
    table_.reserve(size);
    table_.extend(size);
    std::fill_n(table_.data(), begin, Entry{});
    const auto put = [this](const Entry& entry) { table_[place(entry)] = entry; };
    for (std::size_t at = begin; at < before; ++at) {  // each to where it stands now, before, or in what is new
        if (table_[at].number != 0) {
            put(std::exchange(table_[at], Entry{}));
        }
    }
    std::ranges::for_each(first, put);
}

std::uint32_t Prefixes::append(std::size_t place, const Digest& address, std::uint32_t parent, std::int32_t depth) {
    const auto node = static_cast<std::uint32_t>(size());
    table_[place] = entry(address, node + 1);
    links_.append({none, none, none});
    parents_.writable().append(parent == none ? -1 : static_cast<std::int64_t>(parent));
    depths_.writable().append(depth);
    return node;
}

std::uint32_t Prefixes::root(const Digest& address) {
    const std::size_t at = place(entry(address));
    if (table_[at].number != 0) {
        return table_[at].number - 1;
    }
    roots_.make_room(1);
    const std::uint32_t node = append(at, address, none, 0);
    links_[node].next_sibling = static_cast<std::uint32_t>(roots_.size());
    roots_.append({address, node});
    return node;
}

std::uint32_t Prefixes::child(const Digest& address, std::uint32_t parent, std::int32_t depth) {
    const std::size_t at = place(entry(address));
    if (table_[at].number != 0) {
        return table_[at].number - 1;
    }
    const std::uint32_t node = append(at, address, parent, depth);
    Link& above = links_[parent];
    (above.first_child == none ? above.first_child : links_[above.last_child].next_sibling) = node;
    above.last_child = node;
    return node;
}

std::int64_t Prefixes::bytes() const {
    return links_.bytes() + table_.bytes() + roots_.bytes() + parents_.values().bytes() + depths_.values().bytes();
}

}  // namespace erprm
