#include "ledger.hpp"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>
#include <utility>

#include "errors.hpp"

namespace erprm {
namespace {

void check_outcome(const char* name, int outcome) {
    if (outcome < Ledger::unknown || outcome > 1) {
        refuse(name, "0, 1 or -1 for not known", outcome);
    }
}

void check_want(std::int32_t count) {
    if (count < 0 || count > Ledger::max_samples) {
        refuse("n", "0 to " + std::to_string(Ledger::max_samples), count);
    }
}

}  // namespace

// ---- which prefixes there are

std::uint32_t Ledger::intern(const Key& key, std::uint32_t parent) {
    const std::size_t size = nodes_.size();
    if (size == static_cast<std::size_t>(INT32_MAX)) {
        throw std::invalid_argument("ledger: it holds at most " + std::to_string(INT32_MAX) + " prefixes");
    }
    const auto [entry, fresh] = index_.try_emplace(key, static_cast<std::uint32_t>(size));
    if (!fresh) {
        return entry->second;
    }
    try {
        nodes_.emplace_back(parent);
        if (parent == Node::none) {
            root_keys_.push_back(key);
        }
    } catch (...) {  // out of memory: as if it had not been asked
        if (nodes_.size() > size) {
            nodes_.pop_back();
        }
        index_.erase(entry);
        throw;
    }
    const auto node = static_cast<std::uint32_t>(size);
    if (parent == Node::none) {
        nodes_[node].next_sibling = static_cast<std::uint32_t>(root_keys_.size() - 1);
    } else {
        Node& above = nodes_[parent];
        nodes_[node].next_sibling =
            above.last_child == Node::none ? node : std::exchange(nodes_[above.last_child].next_sibling, node);
        above.last_child = node;
    }
    return node;
}

const Node* Ledger::find(const Key& key) const {
    const auto entry = index_.find(key);
    return entry == index_.end() ? nullptr : &nodes_[entry->second];
}

std::vector<std::int64_t> Ledger::add_problems(std::span<const std::string_view> names) {
    std::vector<std::int64_t> roots;
    roots.reserve(names.size());
    const std::scoped_lock lock(mutex_);
    for (const std::string_view name : names) {
        roots.push_back(intern(problem_key(name), Node::none));
    }
    return roots;
}

void Ledger::check_root(const char* name, std::int64_t root) const {
    const bool known = root >= 0 && root < static_cast<std::int64_t>(nodes_.size());
    if (!known || nodes_[static_cast<std::size_t>(root)].parent != Node::none) {
        refuse(name, "a node that add_problem returned", root);
    }
}

void Ledger::add_path(std::int64_t root, std::span<const std::string_view> steps, int outcome, bool finished, bool count_outcome,
                      std::span<std::int64_t> path) {
    std::vector<Key> keys(steps.size());
    Key key = root_key(root);
    for (std::size_t j = 0; j < steps.size(); ++j) {
        keys[j] = key = step_key(key, steps[j], finished && j + 1 == steps.size());
    }
    const Node* const end = finished ? find(key) : nullptr;
    if (end != nullptr) {  // refused before anything is added
        check_end(*end, outcome);
    }
    auto node = static_cast<std::uint32_t>(root);
    for (std::size_t j = 0; j < steps.size(); ++j) {
        path[j] = node = intern(keys[j], node);
    }
    if (finished) {
        close_locked(node, outcome);
    }
    totals_.solutions += 1;
    totals_.steps += static_cast<std::int64_t>(steps.size());
    if (count_outcome && outcome != unknown) {
        count_own(static_cast<std::uint32_t>(root), outcome);
        for (const std::int64_t prefix : path) {
            count_own(static_cast<std::uint32_t>(prefix), outcome);
        }
    }
}

std::vector<std::int64_t> Ledger::add_solution(std::int64_t root, std::span<const std::string_view> steps, int outcome, bool finished,
                                               bool count_outcome) {
    check_outcome("outcome", outcome);
    if (steps.empty()) {
        throw std::invalid_argument("steps: expected at least one step, found none");
    }
    std::vector<std::int64_t> path(steps.size());
    const std::scoped_lock lock(mutex_);
    check_root("root", root);
    add_path(root, steps, outcome, finished, count_outcome, path);
    return path;
}

std::vector<std::int64_t> Ledger::add_solutions(std::span<const std::int64_t> roots, std::span<const std::string_view> steps,
                                                std::span<const std::int64_t> offsets, std::span<const std::int32_t> outcomes,
                                                std::span<const std::uint8_t> finished, bool count_outcome) {
    const std::size_t solutions = roots.size();
    check_lengths("outcomes", "roots", solutions, outcomes.size());
    check_lengths("finished", "roots", solutions, finished.size());
    check_lengths("solutions", "roots", solutions, offsets.size() - 1);
    std::ranges::for_each(outcomes, [](int outcome) { check_outcome("outcomes", outcome); });
    for (std::size_t s = 0; s < solutions; ++s) {
        if (offsets[s] == offsets[s + 1]) {
            throw std::invalid_argument("solutions: expected at least one step each, found none in solution " + std::to_string(s));
        }
    }
    std::vector<std::int64_t> paths(steps.size());
    const std::scoped_lock lock(mutex_);
    std::ranges::for_each(roots, [this](std::int64_t root) { check_root("roots", root); });
    for (std::size_t s = 0; s < solutions; ++s) {
        const auto first = static_cast<std::size_t>(offsets[s]);
        const auto count = static_cast<std::size_t>(offsets[s + 1]) - first;
        add_path(roots[s], steps.subspan(first, count), outcomes[s], finished[s] != 0, count_outcome,
                 std::span(paths).subspan(first, count));
    }
    return paths;
}

void Ledger::count_own(std::uint32_t node, int outcome) {
    Node& here = nodes_[node];
    if (here.closed) {
        return;
    }
    const std::int64_t before = here.missing();
    here.own += 1;
    here.count(outcome);
    totals_.own += 1;
    missing_changed(node, before);
}

void Ledger::close(std::int64_t node, int outcome) {
    check_outcome("outcome", outcome);
    const std::scoped_lock lock(mutex_);
    check_nodes({&node, 1});
    close_locked(static_cast<std::uint32_t>(node), outcome);
}

void Ledger::check_end(const Node& node, int outcome) {
    if (node.closed && node.trials == 1 && outcome != unknown && outcome != node.successes) {
        refuse("outcome", std::to_string(node.successes) + ", with which this prefix was closed", outcome);
    }
}

void Ledger::close_locked(std::uint32_t node, int outcome) {
    Node& here = nodes_[node];
    check_end(here, outcome);
    if (!here.closed) {
        if (here.has_samples() || here.trials != 0) {
            refuse("node", "a prefix without trials to close", node);
        }
        const std::int64_t before = here.missing();
        here.closed = 1;
        totals_.closed += 1;
        missing_changed(node, before);
    }
    if (outcome != unknown) {
        here.successes = outcome;
        here.trials = 1;
    }
}

// ---- what is missing

void Ledger::missing_changed(std::uint32_t node, std::int64_t before) {
    const std::int64_t now = nodes_[node].missing();
    totals_.missing += now - before;
    if ((now > 0) != (before > 0)) {
        schedule_.set(node, now > 0);
    }
}

void Ledger::set_want(std::uint32_t node, std::int32_t count) {
    const std::int64_t before = nodes_[node].missing();
    nodes_[node].want = static_cast<std::uint32_t>(count);
    missing_changed(node, before);
}

void Ledger::want(std::span<const std::int64_t> nodes, std::span<const std::int32_t> counts) {
    check_lengths("n", "nodes", nodes.size(), counts.size());
    std::for_each(counts.begin(), counts.end(), check_want);
    const std::scoped_lock lock(mutex_);
    check_nodes(nodes);
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        set_want(static_cast<std::uint32_t>(nodes[i]), counts[i]);
    }
}

void Ledger::want_all(std::int32_t count, bool roots) {
    check_want(count);
    const std::scoped_lock lock(mutex_);
    for (std::uint32_t node = 0; node < nodes_.size(); ++node) {
        if (roots || nodes_[node].parent != Node::none) {
            set_want(node, count);
        }
    }
}

// Hands out the lowest free samples of a node as whole runs; false when the batch is full or the next run does not fit.
bool Ledger::hand_out(std::uint32_t node, std::int64_t max_completions, std::int64_t& given, Batch& batch) {
    Node& here = nodes_[node];
    for (std::int64_t missing = here.missing(); missing > 0; missing = here.missing()) {
        Run run = here.lowest_free(missing);
        if (given > 0 && given + run.count > max_completions) {
            return false;
        }
        run.count = std::min(run.count, max_completions - given);
        batch.nodes.push_back(node);
        batch.first_samples.push_back(static_cast<std::int32_t>(run.first));
        batch.counts.push_back(static_cast<std::int32_t>(run.count));
        here.take(run);
        missing_changed(node, missing);
        totals_.in_flight += run.count;
        given += run.count;
        if (given >= max_completions) {
            return false;
        }
    }
    return true;
}

Batch Ledger::next(std::int64_t max_completions) {
    if (max_completions < 1) {
        refuse("max_completions", "at least 1", max_completions);
    }
    Batch batch;
    std::int64_t given = 0;
    const std::scoped_lock lock(mutex_);
    while (!schedule_.empty() && hand_out(schedule_.current(), max_completions, given, batch)) {
        schedule_.advance();
    }
    return batch;
}

void Ledger::check_nodes(std::span<const std::int64_t> nodes) const {
    const auto size = static_cast<std::int64_t>(nodes_.size());
    check_within("nodes", nodes, size, ("a node below " + std::to_string(size)).c_str());
}

// ---- what it tells

template <class Value>
auto Ledger::of_nodes(Value value) const {
    std::vector<decltype(value(nodes_[0]))> values;
    const std::scoped_lock lock(mutex_);
    values.reserve(nodes_.size());
    std::ranges::transform(nodes_, std::back_inserter(values), value);
    return values;
}

Ledger::Counts Ledger::counts() const {
    Counts counts;
    const std::scoped_lock lock(mutex_);
    counts.successes.reserve(nodes_.size());
    counts.trials.reserve(nodes_.size());
    for (const Node& node : nodes_) {
        counts.successes.push_back(node.successes);
        counts.trials.push_back(node.trials);
    }
    return counts;
}

std::vector<std::int64_t> Ledger::parents() const {
    return of_nodes([](const Node& node) { return node.parent == Node::none ? std::int64_t{-1} : std::int64_t{node.parent}; });
}

std::vector<std::int32_t> Ledger::depths() const {
    std::vector<std::int32_t> depths;
    const std::scoped_lock lock(mutex_);
    depths.reserve(nodes_.size());
    for (const Node& node : nodes_) {  // a parent's number is lower than its children's
        depths.push_back(node.parent == Node::none ? 0 : depths[node.parent] + 1);
    }
    return depths;
}

std::vector<std::int64_t> Ledger::offsets() const {
    std::vector<std::int64_t> sums{0};
    const std::scoped_lock lock(mutex_);
    sums.reserve(nodes_.size() + 1);
    for (const Node& node : nodes_) {
        sums.push_back(sums.back() + node.trials);
    }
    return sums;
}

std::vector<std::uint8_t> Ledger::closed() const {
    return of_nodes([](const Node& node) { return static_cast<std::uint8_t>(node.closed); });
}

std::vector<std::int32_t> Ledger::done_samples(std::int64_t node) const {
    const std::scoped_lock lock(mutex_);
    check_nodes({&node, 1});
    return nodes_[static_cast<std::size_t>(node)].done();
}

Totals Ledger::totals() const {
    const std::scoped_lock lock(mutex_);
    Totals totals = totals_;
    totals.problems = static_cast<std::int64_t>(root_keys_.size());
    totals.nodes = static_cast<std::int64_t>(nodes_.size());
    return totals;
}

std::int64_t Ledger::bytes() const {
    constexpr std::size_t entry = sizeof(void*) + sizeof(std::pair<const Key, std::uint32_t>);
    const std::scoped_lock lock(mutex_);
    auto bytes = static_cast<std::int64_t>(nodes_.size() * (sizeof(Node) + entry) + index_.bucket_count() * sizeof(void*) +
                                           root_keys_.capacity() * sizeof(Key));
    for (const Node& node : nodes_) {
        bytes += node.bytes_beyond();
    }
    return bytes + schedule_.bytes();
}

}  // namespace erprm
