// Calls every op of the core as its users do and as they may, and looks at what comes out: a
// program for the tools that watch memory and threads, in which there is no Python. `--help` says
// more.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <map>
#include <string>

#include "common/isa.h"
#include "driver/cases.h"
#include "driver/report.h"
#include "driver/scenarios.h"

namespace wsss_fast::driver {

std::string case_name(const std::string& op, const std::string& dtype, const Size& size) {
    return op + " " + dtype + " " + std::to_string(size.images) + "x" +
           std::to_string(size.height) + "x" + std::to_string(size.width);
}

namespace {

constexpr char kUsage[] =
    "wsss_fast_driver [--sizes few|more] [--results FILE] [--entries FILE]\n"
    "wsss_fast_driver --isa   prints the instruction set that is in use\n"
    "  --sizes    how large the inputs get: few for tools under which all is slow (default: more)\n"
    "  --results  one line a case: a digest of its results, to compare instruction sets by\n"
    "  --entries  the names of the functions that Python binds and that were called\n"
    "Exit codes: 0 all well, 1 something is not as it must be, 2 wrong arguments.\n";

struct Arguments {
    std::string sizes = "more";
    std::string results;
    std::string entries;
};

std::vector<Size> sizes(const std::string& which) {
    std::vector<Size> list{{1, 1, 1}, {2, 1, 9}, {1, 13, 1}, {2, 7, 5}, {1, 37, 53}};
    // More points than a band of a lattice holds, or a tile of a map.
    if (which == "more") list.push_back({1, 131, 150});
    return list;
}

Cases all_cases(const std::vector<Size>& sizes) {
    Cases cases;
    for (const Size& size : sizes) {
        add_crf_cases(cases, size);
        add_lattice_cases(cases, size);
        add_walk_cases(cases, size);
        add_path_cases(cases, size);
        add_pairs_cases(cases, size);
        add_fusion_cases(cases, size);
        add_tta_cases(cases, size);
    }
    return cases;
}

// FNV-1a.
std::uint64_t digest(const Bytes& bytes) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const char byte : bytes) {
        hash ^= static_cast<unsigned char>(byte);
        hash *= 0x100000001b3u;
    }
    return hash;
}

class Clock {
  public:
    // The seconds since it was made or last asked.
    double lap() {
        const auto now = std::chrono::steady_clock::now();
        const std::chrono::duration<double> passed = now - last_;
        last_ = now;
        return passed.count();
    }

  private:
    std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

template <typename Part>
void timed(const char* name, Part&& part) {
    Clock clock;
    const std::int64_t before = checks();
    part();
    std::printf("%-32s %6lld checks %8.1f s\n", name, static_cast<long long>(checks() - before),
                clock.lap());
    std::fflush(stdout);
}

int run(const Arguments& arguments) {
    const Cases cases = all_cases(sizes(arguments.sizes));
    std::printf("%zu calls of ops, instruction set %s\n", cases.size(), isa_name(isa()));
    Results expected;
    timed("one thread", [&] { expected = alone(cases); });
    timed("known properties", [&] {
        check_small_functions();
        for (const Case& of : cases) of.check(of.name);
    });
    timed("2, 4 and 16 threads", [&] { check_thread_counts(cases, expected); });
    timed("4 callers at once", [&] { check_callers(cases, expected, 4); });
    timed("in a forked child, and after it", [&] { check_fork(cases, expected); });
    timed("stopped, and after it", [&] { check_cancelling(cases, expected); });

    if (!arguments.results.empty()) {
        std::ofstream file(arguments.results);
        for (std::size_t i = 0; i < cases.size(); ++i) {
            file << cases[i].name << ": " << digest(expected[i]) << "\n";
        }
    }
    if (!arguments.entries.empty()) {
        std::ofstream file(arguments.entries);
        for (const std::string& name : all_entered()) file << name << "\n";
    }
    std::printf("%lld checks, %lld failed\n", static_cast<long long>(checks()),
                static_cast<long long>(failures()));
    return failures() == 0 ? 0 : 1;
}

int main_of(int count, char** values) {
    Arguments arguments;
    std::map<std::string, std::string*> options{{"--sizes", &arguments.sizes},
                                                {"--results", &arguments.results},
                                                {"--entries", &arguments.entries}};
    if (count == 2 && std::strcmp(values[1], "--isa") == 0) {
        std::printf("%s\n", isa_name(isa()));
        return 0;
    }
    if (count == 2 && std::strcmp(values[1], "--help") == 0) {
        std::fputs(kUsage, stdout);
        return 0;
    }
    for (int i = 1; i < count; i += 2) {
        const auto option = options.find(values[i]);
        if (option == options.end() || i + 1 == count) {
            std::fputs(kUsage, stderr);
            return 2;
        }
        *option->second = values[i + 1];
    }
    if (arguments.sizes != "few" && arguments.sizes != "more") {
        std::fprintf(stderr, "--sizes: expected few or more, got %s\n", arguments.sizes.c_str());
        return 2;
    }
    return run(arguments);
}

}  // namespace
}  // namespace wsss_fast::driver

int main(int count, char** values) {
    try {
        return wsss_fast::driver::main_of(count, values);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "failed: %s\n", error.what());
        return 1;
    }
}
