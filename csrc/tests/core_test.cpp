// Unit tests of the pure core, to be built with sanitizers (tests/core/test_sanitizers.py): prints "ok" and returns 0.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "../digest.hpp"
#include "../growth.hpp"
#include "../ledger.hpp"
#include "../majority.hpp"
#include "../packing.hpp"
#include "../prefix_tree.hpp"
#include "../tags.hpp"

using namespace erprm;

#define CHECK(condition)                                                               \
    do {                                                                               \
        if (!(condition)) {                                                            \
            std::fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            std::exit(1);                                                              \
        }                                                                              \
    } while (false)

template <class Call>
bool refused(Call call) {
    try {
        call();
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}

using Ints = std::vector<std::int64_t>;
using Small = std::vector<std::int32_t>;
using Bytes = std::vector<std::uint8_t>;
using Texts = std::vector<std::string_view>;

std::vector<Digest> digests(const Texts& texts) {
    std::vector<Digest> found;
    for (const std::string_view text : texts) {
        found.push_back(digest(text));
    }
    return found;
}

std::int64_t problem(Ledger& ledger, std::string_view key) { return ledger.add_problems({{digest(key)}})[0]; }

Ints add(Ledger& ledger, std::int64_t root, const Texts& steps, int outcome, bool finished, bool count_outcome) {
    std::vector<Digest> found = digests(steps);
    return ledger.add_solution(root, found, outcome, finished, count_outcome);
}

Ints add_all(Ledger& ledger, const Ints& roots, const Texts& steps, const Ints& offsets, const Small& outcomes, const Bytes& finished,
             bool count_outcome) {
    std::vector<Digest> found = digests(steps);
    return ledger.add_solutions(roots, found, offsets, outcomes, finished, count_outcome);
}

// Every length up to two blocks and a half, each with any one of its bytes changed.
void digests_differ_wherever_texts_do() {
    std::unordered_set<std::uint64_t> firsts, seconds;
    std::size_t texts = 0;
    for (std::size_t size = 0; size < 320; ++size) {
        std::string text(size, 'a');
        const auto add = [&] {
            const Digest found = digest(text);
            firsts.insert(found.first);
            seconds.insert(found.second);
            CHECK(found == digest(std::string(text)));
        };
        add();
        for (char& byte : text) {
            byte = 'b';
            add();
            byte = 'a';
        }
        texts += 1 + size;
    }
    CHECK(firsts.size() == texts && seconds.size() == texts);
    CHECK(digest("ab", 1) != digest("ab", 2));
    const Digest a = digest("a"), b = digest("b");
    CHECK(extended(a, b, 0, false) != extended(a, b, 0, true) && extended(a, b, 0, false) != extended(b, a, 0, false));
    CHECK(extended(a, b, 0, false) == extended(a, b, 0, false) && extended(a, b, 0, false) != digest("ab"));
    firsts.clear();
    for (std::size_t depth = 0; depth < 300; ++depth) {
        firsts.insert(extended(a, b, depth, false).first);
    }
    CHECK(firsts.size() == 300);
}

void equal_prefixes_are_one_node_but_an_end_is_its_own() {
    Ledger ledger;
    const std::int64_t root = problem(ledger, "p");
    CHECK(problem(ledger, "p") == root && problem(ledger, "q") != root);
    const Ints a = add(ledger, root, Texts{"x", "y", "z"}, 1, true, false);
    const Ints b = add(ledger, root, Texts{"x", "y"}, 0, true, false);
    const Ints c = add(ledger, root, Texts{"x", "yz"}, -1, false, true);
    CHECK(a[0] == b[0] && a[0] == c[0] && a[1] != b[1] && c[1] != a[1]);
    CHECK((ledger.closed() == Bytes{0, 0, 0, 0, 1, 1, 0}));
    CHECK(refused([&] { add(ledger, root, Texts{"x", "y"}, 1, true, false); }));
    CHECK(refused([&] { add(ledger, a[0], Texts{"x"}, 1, true, false); }));
    CHECK(refused([&] { add(ledger, root, Texts{}, 1, true, false); }));
}

void many_solutions_are_as_one_after_the_other() {
    Ledger one, all;
    std::vector<std::string> kept;
    for (int i = 0; i < 900; ++i) {
        kept.push_back(std::to_string(i % 7 == 0 ? i : i % 5));
    }
    const Texts texts(kept.begin(), kept.end());
    const std::int64_t roots[]{problem(one, "p"), problem(one, "q")};
    problem(all, "p");
    problem(all, "q");
    Ints of, offsets{0}, expected;
    Small outcomes;
    Bytes finished;
    for (std::size_t s = 0; s < 300; ++s) {
        of.push_back(roots[s % 2]);
        outcomes.push_back(s % 3 == 0 ? -1 : 1);
        finished.push_back(s % 4 == 0);
        offsets.push_back(offsets.back() + 3);
        const Ints path = add(one, of[s], {texts.begin() + 3 * s, texts.begin() + 3 * s + 3}, outcomes[s], finished[s] != 0, true);
        expected.insert(expected.end(), path.begin(), path.end());
    }
    CHECK(add_all(all, of, texts, offsets, outcomes, finished, true) == expected);
    CHECK(one.closed() == all.closed() && one.offsets() == all.offsets() && one.totals().steps == all.totals().steps);
    const auto before = all.totals().nodes;
    CHECK(refused([&] { add_all(all, Ints{0, 99}, Texts{"new", "y"}, Ints{0, 1, 2}, Small{1, 1}, Bytes{0, 0}, false); }));
    CHECK(refused([&] { add_all(all, Ints{0, 0}, Texts{"new"}, Ints{0, 1, 1}, Small{1, 1}, Bytes{0, 0}, false); }));
    CHECK(refused([&] { add_all(all, Ints{0}, Texts{"new"}, Ints{0, 1}, Small{2}, Bytes{0}, false); }));
    CHECK(refused([&] { add_all(all, Ints{0}, Texts{"new"}, Ints{0, 1}, Small{1, 1}, Bytes{0}, false); }));
    CHECK(all.totals().nodes == before);
}

// Past the sizes at which memory is mapped, and past several growths of the table, in which entries wrap around its end.
void what_grows_keeps_what_it_holds() {
    Array<std::uint32_t> values(5);
    for (std::size_t size = 5, written = 0; size < 3'000'000; size = size * 3 / 2) {
        values.reserve(size);
        values.extend(size);
        for (; written < size; ++written) {
            CHECK(values[written] == 0);
            values[written] = static_cast<std::uint32_t>(written) + 1;
        }
        CHECK(values[0] == 1 && values[size / 2] == size / 2 + 1);
    }
    Ledger ledger;
    const std::int64_t root = problem(ledger, "p");
    Ints first;
    const auto one = [&](int i) { return add(ledger, root, Texts{std::to_string(i)}, -1, false, false)[0]; };
    for (int i = 0; i < 50'000; ++i) {
        first.push_back(one(i));
    }
    for (int i = 0; i < 50'000; ++i) {
        CHECK(one(i) == first[static_cast<std::size_t>(i)]);
    }
    CHECK(ledger.totals().nodes == 50'001);
}

void texts_count_where_they_pass() {
    Ledger ledger;
    const std::int64_t root = problem(ledger, "p");
    const Ints path = add(ledger, root, Texts{"x", "y"}, -1, false, false);
    std::vector<Digest> steps = digests(Texts{"x", "y", "z", "x", "y"});
    CHECK((ledger.count_passing(Ints{root, root}, steps, Ints{0, 3, 5}, Small{1, 0}, Bytes{1, 0}) == Ints{path[1], path[0]}));
    CHECK(ledger.counts().trials.data()[path[0]] == 1 && ledger.counts().successes.data()[path[1]] == 1);
    CHECK(refused([&] { ledger.count_passing(Ints{root}, steps, Ints{0, 5}, Small{6}, Bytes{1}); }));
    CHECK(ledger.record(Ints{path[0]}, Bytes{1}, Small{70}) == 1);
    CHECK((ledger.recorded(Ints{path[0], path[0], path[1]}, Small{70, 200, 0}) == Bytes{1, 0, 0}));
}

void runs_beyond_one_word_holes_and_release() {
    Ledger ledger;
    const std::int64_t node = add(ledger, problem(ledger, "p"), Texts{"x"}, -1, false, false)[0];
    ledger.want(Ints{node}, Small{1000});
    CHECK(ledger.record(Ints{node, node, node, node}, Bytes{1, 0, 1, 1}, Small{0, 64, 130, 130}) == 3);
    const Batch batch = ledger.next(5000);
    CHECK((batch.first_samples == Small{1, 65, 131}) && (batch.counts == Small{63, 65, 869}));
    CHECK(ledger.totals().missing == 0 && ledger.totals().in_flight == 997);
    CHECK(ledger.record(Ints{node}, Bytes{1}, {}) == 1);
    CHECK(ledger.release(batch.nodes, batch.first_samples, batch.counts) == 996);
    CHECK((ledger.done_samples(node) == Small{0, 1, 64, 130}) && ledger.totals().missing == 996);
    const Batch part = ledger.next(100);  // the second run would not fit
    CHECK((part.first_samples == Small{2}) && (part.counts == Small{62}));
    const Batch cut = ledger.next(10);
    CHECK((cut.first_samples == Small{65}) && (cut.counts == Small{10}));
    CHECK(refused([&] { ledger.record(Ints{node}, Bytes{1}, Small{Ledger::max_samples}); }));
}

void snapshots_stay_as_they_were() {
    Ledger ledger;
    const std::int64_t root = problem(ledger, "p");
    const auto [k, n] = ledger.counts();
    const auto parents = ledger.parents();
    for (int i = 0; i < 1000; ++i) {
        const std::string step = std::to_string(i);
        add(ledger, root, Texts{step}, 1, false, true);
    }
    CHECK(n.size() == 1 && n.data()[0] == 0 && k.data()[0] == 0 && parents.size() == 1);
    const auto later = ledger.counts();
    CHECK(later.trials.size() == 1001 && later.trials.data()[0] == 1000 && ledger.offsets().back() == 2000);
}

// Workers take, give back, record (each result twice) and read at once; at the end everything is counted exactly once.
void many_threads() {
    Ledger ledger;
    for (int p = 0; p < 8; ++p) {
        const std::int64_t root = problem(ledger, std::to_string(p));
        for (int s = 0; s < 10; ++s) {
            const std::string first = std::to_string(s % 3), second = std::to_string(s);
            add(ledger, root, Texts{first, second, "end"}, s % 2, true, false);
        }
    }
    ledger.want_all(70, true);
    const std::int64_t wanted = ledger.totals().missing;
    std::atomic<std::int64_t> counted{0}, successes{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937 random(t);
            while (true) {
                const Batch batch = ledger.next(50);
                if (batch.nodes.empty()) {
                    break;
                }
                if (random() % 4 == 0) {
                    ledger.release(batch.nodes, batch.first_samples, batch.counts);
                    continue;
                }
                const auto snapshot = ledger.counts();
                CHECK(std::accumulate(snapshot.trials.data(), snapshot.trials.data() + snapshot.trials.size(), std::int64_t{0}) >= 0);
                for (std::size_t i = 0; i < batch.nodes.size(); ++i) {
                    const auto count = static_cast<std::size_t>(batch.counts[i]);
                    Small samples(count);
                    std::iota(samples.begin(), samples.end(), batch.first_samples[i]);
                    const Ints nodes(count, batch.nodes[i]);
                    const Bytes outcomes(count, static_cast<std::uint8_t>(batch.nodes[i] % 2));
                    counted += ledger.record(nodes, outcomes, samples);
                    counted += ledger.record(nodes, outcomes, samples);
                    successes += static_cast<std::int64_t>(count) * (batch.nodes[i] % 2);
                }
                problem(ledger, std::to_string(random() % 100));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    const Totals totals = ledger.totals();
    CHECK(counted == wanted && totals.done == wanted && totals.ignored == wanted && totals.in_flight == 0 && totals.missing == 0);
    const auto [k, n] = ledger.counts();
    CHECK(std::accumulate(k.data(), k.data() + k.size(), std::int64_t{0}) == successes + 8 * 5);  // and the ended ones
}

void bins_rows_and_tags() {
    Small bins(5);
    CHECK(first_fit_decreasing(Ints{4, 8, 1, 4, 3}, 10, bins) == 3 && (bins == Small{1, 0, 0, 1, 2}));
    CHECK(first_fit_decreasing(Ints{}, 10, {}) == 0);
    CHECK(refused([&] { first_fit_decreasing(Ints{11}, 10, std::span(bins).first(1)); }));
    const Ints ids{7, 8, 9, 5, 6}, offsets{0, 3, 5}, tags{2, 0, 1}, tag_offsets{0, 1, 3}, chosen{1, 0, 1};
    const Rows rows{ids, offsets, tags, tag_offsets};
    const PackedSize size = packed_size(rows, chosen);
    Ints input(static_cast<std::size_t>(size.tokens)), position(input.size()), at(static_cast<std::size_t>(size.tags));
    Small lengths(4);
    pack_rows(rows, chosen, {input, position, lengths, at});
    CHECK((input == Ints{5, 6, 7, 8, 9, 5, 6}) && (position == Ints{0, 1, 0, 1, 2, 0, 1}));
    CHECK((lengths == Small{0, 2, 5, 7}) && (at == Ints{0, 1, 4, 5, 6}));
    CHECK(refused([&] { packed_size(rows, Ints{2}); }));
    Ints many(1000, 3);
    many[0] = many[63] = many[64] = many[999] = 4;
    CHECK((scan_tags<std::int64_t>(many, 4) == Ints{0, 63, 64, 999}));
    CHECK((scan_tags<std::int32_t>(Small{4}, 4) == Ints{0}));
}

void votes() {
    const Texts answers{"4", "5", "5", {}, "4", "7"};
    const Ints codes = answer_codes(answers);
    CHECK((codes == Ints{0, 1, 1, -1, 0, 5}));
    CHECK((majority(codes, Ints{0, 3, 3, 6}, {}).winners == Ints{1, -1, 4}));
    CHECK((majority(codes, Ints{0, 5, 6}, std::vector<double>{1, 2, 0, 9, 1, 1}).winners == Ints{0, 5}));
    CHECK(refused([&] { majority(codes, Ints{0, 2, 1, 6}, {}); }));
}

void tree() {
    const PrefixTree tree = prefix_tree(Ints{1, 2, 4, 5, 1, 2, 3, 1, 2, 4, 5}, Ints{0, 4, 7, 9, 11});
    CHECK((tree.input_ids == Ints{1, 2, 3, 4, 5, 4, 5}) && (tree.position_ids == Ints{0, 1, 2, 2, 3, 0, 1}));
    CHECK((tree.ends == Ints{5, 5, 3, 5, 5, 7, 7}) && (tree.parents == Ints{-1, 0, 1, 1, 3, -1, 5}));
    CHECK((tree.token_of == Ints{0, 1, 3, 4, 0, 1, 2, 0, 1, 5, 6}));
    CHECK((tree.segment_starts == Ints{0, 2, 3, 5, 7}) && (tree.segment_parents == Ints{-1, 0, 0, -1}));
    CHECK(prefix_tree(Ints{}, Ints{0}).input_ids.empty() && prefix_tree(Ints{}, Ints{0, 0}).segment_parents.empty());
}

int main() {
    digests_differ_wherever_texts_do();
    equal_prefixes_are_one_node_but_an_end_is_its_own();
    many_solutions_are_as_one_after_the_other();
    what_grows_keeps_what_it_holds();
    texts_count_where_they_pass();
    runs_beyond_one_word_holes_and_release();
    snapshots_stay_as_they_were();
    many_threads();
    bins_rows_and_tags();
    votes();
    tree();
    std::puts("ok");
    return 0;
}
