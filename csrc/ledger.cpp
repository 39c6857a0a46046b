#include "ledger.hpp"

#include <algorithm>
#include <string>

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

// Allocates all that so many more nodes may need, so that adding them cannot fail and the parts stay in step.
void Ledger::make_room(std::size_t nodes) {
    if (prefixes_.size() + nodes <= room_) {
        return;
    }
    if (prefixes_.size() + nodes > prefixes_.room()) {
        prefixes_.widen(prefixes_.size() + nodes);
    }
    samples_.reserve(prefixes_.room());
    schedule_.reserve(prefixes_.room());
    successes_.writable().reserve(prefixes_.room());
    trials_.writable().reserve(prefixes_.room());
    room_ = prefixes_.room();
}

// Gives the other parts the nodes that the trie has.
void Ledger::extend() {
    const std::size_t nodes = prefixes_.size();
    if (samples_.size() != nodes) {
        samples_.extend(nodes);
        schedule_.extend();
        successes_.writable().extend(nodes);
        trials_.writable().extend(nodes);
    }
}

std::vector<std::int64_t> Ledger::add_problems(std::span<const Digest> keys) {
    std::vector<std::int64_t> roots(keys.size());
    const std::scoped_lock lock(mutex_);
    for (std::size_t i = 0; i < keys.size(); ++i) {
        make_room(1);
        roots[i] = prefixes_.root(keys[i]);
        extend();
    }
    return roots;
}

void Ledger::check_root(const char* name, std::int64_t root) const {
    const bool known = root >= 0 && root < static_cast<std::int64_t>(prefixes_.size());
    if (!known || prefixes_.parent(static_cast<std::uint32_t>(root)) != Prefixes::none) {
        refuse(name, "a node that add_problem returned", root);
    }
}

void Ledger::add_path(std::uint32_t root, std::span<const Digest> addresses, int outcome, bool finished, bool count_outcome,
                      std::span<std::int64_t> path) {
    make_room(addresses.size());
    if (finished && outcome != unknown) {  // refused before anything is added
        const std::uint32_t end = prefixes_.find(addresses.back());
        if (end != Prefixes::none) {
            check_end(end, outcome);
        }
    }
    std::uint32_t node = root;
    for (std::size_t j = 0; j < addresses.size(); ++j) {
        node = prefixes_.child(addresses[j], node, static_cast<std::int32_t>(j + 1));
        path[j] = node;
    }
    extend();
    if (finished) {
        close_locked(node, outcome);
    }
    totals_.solutions += 1;
    totals_.steps += static_cast<std::int64_t>(addresses.size());
    if (count_outcome && outcome != unknown) {
        count_own(root, outcome);
        for (const std::int64_t prefix : path) {
            count_own(static_cast<std::uint32_t>(prefix), outcome);
        }
    }
}

std::vector<std::int64_t> Ledger::add_solution(std::int64_t root, std::span<Digest> steps, int outcome, bool finished,
                                               bool count_outcome) {
    check_outcome("outcome", outcome);
    if (steps.empty()) {
        throw std::invalid_argument("steps: expected at least one step, found none");
    }
    std::vector<std::int64_t> path(steps.size());
    const std::scoped_lock lock(mutex_);
    check_root("root", root);
    prefixes_.address(static_cast<std::uint32_t>(root), steps, finished);
    add_path(static_cast<std::uint32_t>(root), steps, outcome, finished, count_outcome, path);
    return path;
}

std::vector<std::int64_t> Ledger::add_solutions(std::span<const std::int64_t> roots, std::span<Digest> steps,
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
    const auto of = [&](std::size_t s, auto values) {
        return values.subspan(static_cast<std::size_t>(offsets[s]), static_cast<std::size_t>(offsets[s + 1] - offsets[s]));
    };
    make_room(steps.size() / 2);  // at once instead of by doubling; more only as it is needed, for prefixes are shared
    constexpr std::size_t ahead = 16;  // solutions whose addresses are known, and asked for, before they are looked up
    for (std::size_t s = 0; s < solutions + ahead; ++s) {
        if (s < solutions) {
            prefixes_.address(static_cast<std::uint32_t>(roots[s]), of(s, steps), finished[s] != 0);
        }
        if (s >= ahead) {
            const std::size_t now = s - ahead;
            add_path(static_cast<std::uint32_t>(roots[now]), of(now, std::span<const Digest>(steps)), outcomes[now],
                     finished[now] != 0, count_outcome, of(now, std::span(paths)));
        }
    }
    return paths;
}

void Ledger::count_own(std::uint32_t node, int outcome) {
    if (samples_.closed(node)) {
        return;
    }
    const std::int64_t before = samples_.missing(node);
    samples_.add_own(node);
    successes_.writable()[node] += outcome;
    trials_.writable()[node] += 1;
    totals_.own += 1;
    missing_changed(node, before);
}

void Ledger::close(std::int64_t node, int outcome) {
    check_outcome("outcome", outcome);
    const std::scoped_lock lock(mutex_);
    check_nodes({&node, 1});
    close_locked(static_cast<std::uint32_t>(node), outcome);
}

void Ledger::check_end(std::uint32_t node, int outcome) const {
    const std::int32_t known = successes_.values()[node];
    if (samples_.closed(node) && trials_.values()[node] == 1 && outcome != unknown && outcome != known) {
        refuse("outcome", std::to_string(known) + ", with which prefix " + std::to_string(node) + " was closed", outcome);
    }
}

void Ledger::close_locked(std::uint32_t node, int outcome) {
    check_end(node, outcome);
    if (!samples_.closed(node)) {
        if (samples_.has_any(node) || trials_.values()[node] != 0) {
            refuse("node", "a prefix without trials to close", node);
        }
        const std::int64_t before = samples_.missing(node);
        samples_.close(node);
        totals_.closed += 1;
        missing_changed(node, before);
    }
    if (outcome != unknown) {
        successes_.writable()[node] = outcome;
        trials_.writable()[node] = 1;
    }
}

// ---- what is missing

void Ledger::missing_changed(std::uint32_t node, std::int64_t before) {
    const std::int64_t now = samples_.missing(node);
    totals_.missing += now - before;
    if ((now > 0) != (before > 0)) {
        schedule_.set(node, now > 0);
    }
}

void Ledger::set_want(std::uint32_t node, std::int32_t count) {
    const std::int64_t before = samples_.missing(node);
    samples_.set_want(node, count);
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
    for (std::uint32_t node = 0; node < prefixes_.size(); ++node) {
        if (roots || prefixes_.parent(node) != Prefixes::none) {
            set_want(node, count);
        }
    }
}

// Hands out the lowest free samples of a node as whole runs; false when the batch is full or the next run does not fit.
bool Ledger::hand_out(std::uint32_t node, std::int64_t max_completions, std::int64_t& given, Batch& batch) {
    for (std::int64_t missing = samples_.missing(node); missing > 0; missing = samples_.missing(node)) {
        Run run = samples_.lowest_free(node, missing);
        if (given > 0 && given + run.count > max_completions) {
            return false;
        }
        run.count = std::min(run.count, max_completions - given);
        batch.nodes.push_back(node);
        batch.first_samples.push_back(static_cast<std::int32_t>(run.first));
        batch.counts.push_back(static_cast<std::int32_t>(run.count));
        samples_.take(node, run);
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
    const auto size = static_cast<std::int64_t>(prefixes_.size());
    check_within("nodes", nodes, size, ("a node below " + std::to_string(size)).c_str());
}

}  // namespace erprm
