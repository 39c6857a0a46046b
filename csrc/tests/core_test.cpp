// Unit tests of the pure core, to be built with sanitizers (tests/core/test_sanitizers.py): prints "ok" and returns 0.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../digest.hpp"
#include "../ledger.hpp"
#include "../packing.hpp"
#include "../prefix_tree.hpp"

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

std::size_t at(std::int64_t node) { return static_cast<std::size_t>(node); }

std::int64_t problem(Ledger& ledger, std::string_view name) { return ledger.add_problems({{name}})[0]; }

Ints add(Ledger& ledger, std::int64_t root, const Texts& steps, int outcome, bool finished, bool count_outcome) {
    return ledger.add_solution(root, steps, outcome, finished, count_outcome);
}

// As Python's hashlib.blake2b(text, digest_size=16) has them, over parts that end within, at and after a block's end.
void keys_are_blake2b() {
    const auto letters = [](std::size_t size) {
        std::string text(size, 'a');
        for (std::size_t i = 0; i < size; ++i) {
            text[i] = static_cast<char>('a' + i % 26);
        }
        return text;
    };
    CHECK((blake2b({}) == Key{0x40bdefd94169e6ca, 0x7076a68e75884d4e}));
    CHECK((blake2b({"a", "", "bc"}) == Key{0x2b8d2bc691b74acf, 0x1678287502c90921}));
    CHECK((blake2b({letters(128)}) == Key{0xaf6e869ea96674b1, 0xe25bdfc906c8b642}));
    CHECK((blake2b({letters(129)}) == Key{0x3b8883ad73e4c5e3, 0x8546ee5d13ec4e79}));
    CHECK((blake2b({letters(128), std::string(128, 'z')}) == Key{0x647960ad93595fa6, 0x830cbafe3c77182f}));
    CHECK((blake2b({letters(1000), "z"}) == Key{0x3d1af18591142448, 0x943d809cb7b27682}));
    const Key a = problem_key("a"), b = problem_key("b");
    CHECK(step_key(a, "s", false) != step_key(a, "s", true) && step_key(a, "s", false) != step_key(b, "s", false));
    CHECK(step_key(step_key(a, "s", false), "t", false) != step_key(a, "st", false));
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
    CHECK(all.add_solutions(of, texts, offsets, outcomes, finished, true) == expected);
    CHECK(one.closed() == all.closed() && one.offsets() == all.offsets() && one.totals().steps == all.totals().steps);
    const auto before = all.totals().nodes;
    CHECK(refused([&] { all.add_solutions(Ints{0, 99}, Texts{"new", "y"}, Ints{0, 1, 2}, Small{1, 1}, Bytes{0, 0}, false); }));
    CHECK(refused([&] { all.add_solutions(Ints{0, 0}, Texts{"new"}, Ints{0, 1, 1}, Small{1, 1}, Bytes{0, 0}, false); }));
    CHECK(refused([&] { all.add_solutions(Ints{0}, Texts{"new"}, Ints{0, 1}, Small{2}, Bytes{0}, false); }));
    CHECK(refused([&] { all.add_solutions(Ints{0}, Texts{"new"}, Ints{0, 1}, Small{1, 1}, Bytes{0}, false); }));
    CHECK(all.totals().nodes == before);
}

// Past several growths of the index, and a path as long as no recursion, and nothing quadratic, would stand.
void what_grows_keeps_what_it_holds() {
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
    const Ints path = add(ledger, root, Texts(300'000, "x"), -1, false, true);
    ledger.want_all(2, false);
    CHECK(path.back() == 350'000 && ledger.depths().back() == 300'000);
    CHECK(ledger.next(1'000'000).nodes.size() == 350'000 && ledger.totals().missing == 0);
}

void texts_count_where_they_pass() {
    Ledger ledger;
    const std::int64_t root = problem(ledger, "p");
    const Ints path = add(ledger, root, Texts{"x", "y"}, -1, false, false);
    const Texts steps{"x", "y", "z", "x", "y"};
    CHECK((ledger.count_passing(Ints{root, root}, steps, Ints{0, 3, 5}, Small{1, 0}, Bytes{1, 0}) == Ints{path[1], path[0]}));
    CHECK(ledger.counts().trials[at(path[0])] == 1 && ledger.counts().successes[at(path[1])] == 1);
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

void bins_and_rows() {
    Small bins(5);
    CHECK(first_fit_decreasing(Ints{4, 8, 1, 4, 3}, 10, bins) == 3 && (bins == Small{1, 0, 0, 1, 2}));
    CHECK(first_fit_decreasing(Ints{}, 10, {}) == 0);
    CHECK(refused([&] { first_fit_decreasing(Ints{11}, 10, std::span(bins).first(1)); }));
    const Ints ids{7, 8, 9, 5, 6}, offsets{0, 3, 5}, tags{2, 0, 1}, tag_offsets{0, 1, 3}, chosen{1, 0, 1};
    const Rows rows{ids, offsets, tags, tag_offsets};
    const auto [input, position, lengths, at] = pack_rows(rows, chosen);
    CHECK((input == Ints{5, 6, 7, 8, 9, 5, 6}) && (position == Ints{0, 1, 0, 1, 2, 0, 1}));
    CHECK((lengths == Small{0, 2, 5, 7}) && (at == Ints{0, 1, 4, 5, 6}));
    CHECK(refused([&] { pack_rows(rows, Ints{2}); }));
    CHECK(refused([&] { pack_rows({ids, Ints{0, 9, 5}, tags, tag_offsets}, Ints{0}); }));
    CHECK(refused([&] { pack_rows({ids, offsets, Ints{2, 0, 7}, tag_offsets}, Ints{1}); }));
}

void tree() {
    const PrefixTree tree = prefix_tree(Ints{1, 2, 4, 5, 1, 2, 3, 1, 2, 4, 5}, Ints{0, 4, 7, 9, 11});
    CHECK((tree.input_ids == Ints{1, 2, 3, 4, 5, 4, 5}) && (tree.position_ids == Ints{0, 1, 2, 2, 3, 0, 1}));
    CHECK((tree.ends == Ints{5, 5, 3, 5, 5, 7, 7}));
    CHECK((tree.token_of == Ints{0, 1, 3, 4, 0, 1, 2, 0, 1, 5, 6}));
    CHECK(prefix_tree(Ints{}, Ints{0}).input_ids.empty() && prefix_tree(Ints{}, Ints{0, 0}).ends.empty());
}

int main() {
    keys_are_blake2b();
    equal_prefixes_are_one_node_but_an_end_is_its_own();
    many_solutions_are_as_one_after_the_other();
    what_grows_keeps_what_it_holds();
    texts_count_where_they_pass();
    runs_beyond_one_word_holes_and_release();
    snapshots_stay_as_they_were();
    many_threads();
    bins_and_rows();
    tree();
    std::puts("ok");
    return 0;
}
