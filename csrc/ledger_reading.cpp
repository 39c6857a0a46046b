// What the ledger tells: snapshots, sums and totals.
#include <mutex>

#include "ledger.hpp"

namespace erprm {

Ledger::Counts Ledger::counts() const {
    const std::scoped_lock lock(mutex_);
    return {successes_.snapshot(), trials_.snapshot()};
}

Column<std::int64_t>::Snapshot Ledger::parents() const {
    const std::scoped_lock lock(mutex_);
    return prefixes_.parents().snapshot();
}

Column<std::int32_t>::Snapshot Ledger::depths() const {
    const std::scoped_lock lock(mutex_);
    return prefixes_.depths().snapshot();
}

std::vector<std::int64_t> Ledger::offsets() const {
    const std::scoped_lock lock(mutex_);
    const Array<std::int32_t>& trials = trials_.values();
    std::vector<std::int64_t> sums(trials.size() + 1, 0);
    for (std::size_t node = 0; node < trials.size(); ++node) {
        sums[node + 1] = sums[node] + trials[node];
    }
    return sums;
}

std::vector<std::uint8_t> Ledger::closed() const {
    const std::scoped_lock lock(mutex_);
    std::vector<std::uint8_t> flags(samples_.size());
    for (std::uint32_t node = 0; node < flags.size(); ++node) {
        flags[node] = samples_.closed(node) ? 1 : 0;
    }
    return flags;
}

std::vector<std::int32_t> Ledger::done_samples(std::int64_t node) const {
    const std::scoped_lock lock(mutex_);
    check_nodes({&node, 1});
    return samples_.done(static_cast<std::uint32_t>(node));
}

Totals Ledger::totals() const {
    const std::scoped_lock lock(mutex_);
    Totals totals = totals_;
    totals.problems = static_cast<std::int64_t>(prefixes_.problems());
    totals.nodes = static_cast<std::int64_t>(prefixes_.size());
    return totals;
}

std::int64_t Ledger::bytes() const {
    const std::scoped_lock lock(mutex_);
    return prefixes_.bytes() + samples_.bytes() + schedule_.bytes() + successes_.values().bytes() + trials_.values().bytes();
}

}  // namespace erprm
