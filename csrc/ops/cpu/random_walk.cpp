#include "ops/random_walk.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>

#include "common/paths.h"

namespace wsss_fast {
namespace {

// Pixels of a row are taken in blocks of this many, side by side in vector registers.
template <typename T>
constexpr std::int64_t kLanes = 32 / sizeof(T);

// As many maps are taken at once, so that every weight is loaded once for them.
constexpr std::int64_t kMapsAtOnce = 4;

constexpr std::int64_t kBuildRows = 4;
constexpr std::int64_t kStepRows = 4;

// Below this many multiply-adds a step is over before another thread has woken up.
constexpr std::int64_t kThreadedStep = 400'000;

constexpr std::int64_t kAlignment = 64;

constexpr std::int64_t round_up(std::int64_t value, std::int64_t unit) {
    return (value + unit - 1) / unit * unit;
}

// How one image lies in memory. Maps are surrounded by zeros, as wide as the radius reaches, and
// rows are filled up to whole blocks, so that a step has no borders to look after.
template <typename T>
struct Layout {
    std::int64_t height;
    std::int64_t width;
    std::int64_t maps;
    std::int64_t neighbours;  // both of each opposite pair
    std::int64_t reach;
    std::int64_t blocks;  // of a row
    std::int64_t side;    // zeros at the left and right of a row
    std::int64_t stride;  // of a row of a map
    std::int64_t plane;   // of a map

    Layout(const Paths& paths, std::int64_t height_in, std::int64_t width_in, std::int64_t maps_in)
        : height(height_in),
          width(width_in),
          maps(maps_in),
          neighbours(2 * static_cast<std::int64_t>(paths.size())),
          reach(paths.reach()),
          blocks((width_in - 1) / kLanes<T> + 1),
          side(round_up(paths.reach(), kLanes<T>)),
          stride(blocks * kLanes<T> + 2 * side),
          plane(stride * (height_in + 2 * paths.reach())) {}

    std::int64_t weights() const { return height * blocks * neighbours * kLanes<T>; }
    std::int64_t pixels() const { return height * blocks * kLanes<T>; }
    std::int64_t bytes() const {
        return round_up(
            (weights() + pixels() + 3 * maps * plane) * static_cast<std::int64_t>(sizeof(T)),
            kAlignment);
    }
};

// The pieces of one image's workspace.
template <typename T>
struct Buffers {
    T* weights;         // [height, blocks, neighbours, lanes]
    T* inverse_degree;  // [height, blocks * lanes]; zero beyond the width
    T* current;         // [maps, plane]
    T* previous;        // [maps, plane]; a step replaces it by what comes next
    T* sum;             // [maps, plane]

    Buffers(const Layout<T>& layout, void* workspace)
        : weights(static_cast<T*>(workspace)),
          inverse_degree(weights + layout.weights()),
          current(inverse_degree + layout.pixels()),
          previous(current + layout.maps * layout.plane),
          sum(previous + layout.maps * layout.plane) {}
};

// values[i] = values[i] ** beta. Powers this small can change nothing in a sum that holds a 1
// (every pixel's affinity with itself), and as denormals they would be slow to compute with: they
// become 0.
template <typename T>
void raise(T* values, std::int64_t count, double beta) {
    constexpr T kNothing = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();
    constexpr double kLargestInteger = 64;
    constexpr std::int64_t kChunk = 32;
    const bool integer = beta == std::floor(beta) && beta <= kLargestInteger;
    for (std::int64_t begin = 0; begin < count; begin += kChunk) {
        const std::int64_t size = std::min(kChunk, count - begin);
        T square[kChunk] = {};
        T power[kChunk];
        std::copy_n(values + begin, size, square);
        if (integer) {
            std::fill(power, power + kChunk, T(1));
            for (int rest = static_cast<int>(beta); rest > 0; rest >>= 1) {
                for (std::int64_t i = 0; i < kChunk; ++i) {
                    if (rest & 1) power[i] *= square[i];
                    square[i] *= square[i];
                }
            }
        } else {
            for (std::int64_t i = 0; i < size; ++i) {
                power[i] = std::pow(square[i], static_cast<T>(beta));
            }
        }
        for (std::int64_t i = 0; i < size; ++i) {
            values[begin + i] = power[i] < kNothing ? T(0) : power[i];
        }
    }
}

// Weights and inverse degrees of one row of pixels. A neighbour in the lower half-plane is the end
// of a path that starts here; one in the upper half-plane is the start of a path that ends here.
template <typename T>
void build_row(const Paths& paths, const Layout<T>& layout, double beta, const T* boundary,
               std::int64_t y, std::vector<T>& scratch, const Buffers<T>& buffers) {
    constexpr std::int64_t lanes = kLanes<T>;
    const std::int64_t padded = layout.blocks * lanes;
    const std::int64_t half = layout.neighbours / 2;
    T* const line = scratch.data();  // the weights of one neighbour
    T* const degree = buffers.inverse_degree + y * padded;
    std::fill(degree, degree + padded, T(0));
    T* const weights = buffers.weights + y * padded * layout.neighbours;
    for (std::int64_t q = 0; q < layout.neighbours; ++q) {
        const bool ends_here = q >= half;
        const auto p = static_cast<std::size_t>(ends_here ? q - half : q);
        const Offset& offset = paths.offset(p);
        const std::int64_t row = ends_here ? y - offset.dy : y;
        const std::int64_t begin = std::max<std::int64_t>(0, -offset.dx);
        const std::int64_t end = std::min(layout.width, layout.width - offset.dx);
        std::fill(line, line + padded, T(0));
        if (row >= 0 && row + offset.dy < layout.height && begin < end) {
            T* const out = line + begin + (ends_here ? offset.dx : 0);
            path_maximum(paths, p, boundary + row * layout.width + begin, layout.width, end - begin,
                         out);
            for (std::int64_t i = 0; i < end - begin; ++i) out[i] = T(1) - out[i];
            raise(out, end - begin, beta);
        }
        for (std::int64_t x = 0; x < padded; ++x) degree[x] += line[x];
        for (std::int64_t block = 0; block < layout.blocks; ++block) {
            std::copy_n(line + block * lanes, lanes,
                        weights + (block * layout.neighbours + q) * lanes);
        }
    }
    for (std::int64_t x = 0; x < padded; ++x) {
        degree[x] = x < layout.width ? T(1) / (degree[x] + T(1)) : T(0);
    }
}

// What one step does to every pixel: next = scale * (T current) - keep * previous, where next takes
// the place of previous, and sum += coefficient * next.
template <typename T>
struct Step {
    T scale;
    T keep;
    T coefficient;
};

// Pixels side by side in one 16-byte register, which every x86-64 and arm64 has. Arrays of them
// stay in registers, which gcc does not manage with arrays of numbers.
template <typename T>
struct Pack {
    typedef T type __attribute__((vector_size(16)));
    static constexpr int size = 16 / sizeof(T);
};

template <typename T>
typename Pack<T>::type load(const T* from) {
    typename Pack<T>::type pack;
    std::memcpy(&pack, from, sizeof(pack));
    return pack;
}

template <typename T>
void store(T* to, const typename Pack<T>::type& pack) {
    std::memcpy(to, &pack, sizeof(pack));
}

// One step for kBlocks blocks of kMaps maps, from the addresses of the first block.
//
// A walk is many steps, and a rounding error that leans one way in every step grows with them.
// Hence the form current + sum of weight * (neighbour - current) / degree: its errors are relative
// to the differences, weights of a millionth count beside the weight 1 of the pixel itself, and a
// constant stays what it is to the bit.
template <typename T, int kMaps, int kBlocks>
void step_blocks(const Layout<T>& layout, const std::int64_t* shifts, const Step<T>& step,
                 const T* weights, const T* inverse_degree, const T* current, T* previous, T* sum) {
    using Lane = typename Pack<T>::type;
    constexpr int size = Pack<T>::size;
    constexpr int packs = static_cast<int>(kLanes<T>) / size;
    constexpr int width = kBlocks * packs;
    const std::int64_t block_weights = layout.neighbours * kLanes<T>;
    Lane own[kMaps][width];
    Lane flow[kMaps][width];
    for (int m = 0; m < kMaps; ++m) {
        for (int i = 0; i < width; ++i) {
            own[m][i] = load(current + m * layout.plane + i * size);
            flow[m][i] = Lane{};
        }
    }
    for (std::int64_t q = 0; q < layout.neighbours; ++q) {
        const T* const neighbour = current + shifts[q];
        for (int i = 0; i < width; ++i) {
            const Lane weight =
                load(weights + i / packs * block_weights + q * kLanes<T> + i % packs * size);
            for (int m = 0; m < kMaps; ++m) {
                flow[m][i] += weight * (load(neighbour + m * layout.plane + i * size) - own[m][i]);
            }
        }
    }
    for (int m = 0; m < kMaps; ++m) {
        for (int i = 0; i < width; ++i) {
            const std::int64_t at = m * layout.plane + i * size;
            const Lane moved = own[m][i] + flow[m][i] * load(inverse_degree + i * size);
            const Lane next = step.scale * moved - step.keep * load(previous + at);
            store(previous + at, next);
            store(sum + at, load(sum + at) + step.coefficient * next);
        }
    }
}

// One step for one row of kMaps maps, as many blocks at a time as fill the registers.
template <typename T, int kMaps>
void step_row(const Layout<T>& layout, const std::int64_t* shifts, const Step<T>& step,
              std::int64_t y, std::int64_t map, const Buffers<T>& buffers) {
    constexpr std::int64_t lanes = kLanes<T>;
    constexpr int kBlocks = static_cast<int>(kMapsAtOnce) / kMaps;
    std::int64_t at = map * layout.plane + (y + layout.reach) * layout.stride + layout.side;
    const T* inverse_degree = buffers.inverse_degree + y * layout.blocks * lanes;
    const T* weights = buffers.weights + y * layout.blocks * lanes * layout.neighbours;
    const auto take = [&](auto blocks) {
        step_blocks<T, kMaps, blocks()>(layout, shifts, step, weights, inverse_degree,
                                        buffers.current + at, buffers.previous + at,
                                        buffers.sum + at);
        at += blocks() * lanes;
        inverse_degree += blocks() * lanes;
        weights += blocks() * lanes * layout.neighbours;
    };
    std::int64_t left = layout.blocks;
    for (; left >= kBlocks; left -= kBlocks) take(std::integral_constant<int, kBlocks>{});
    for (; left > 0; --left) take(std::integral_constant<int, 1>{});
}

// The walk of one image.
template <typename T>
class Walk {
  public:
    Walk(const Paths& paths, const RandomWalkParams<T>& params, const WalkBatch<T>& batch,
         std::int64_t image, void* workspace, const Execution& execution)
        : paths_(paths),
          params_(params),
          layout_(paths, batch.height, batch.width, batch.maps),
          buffers_(layout_, workspace),
          cam_(batch.cam + image * batch.maps * batch.height * batch.width),
          boundary_(batch.boundary + image * batch.height * batch.width),
          out_(batch.out + image * batch.maps * batch.height * batch.width),
          execution_(execution) {
        if (layout_.pixels() * layout_.neighbours * layout_.maps < kThreadedStep) {
            execution_.threads = 1;
        }
        for (const int sign : {1, -1}) {
            for (const Offset& offset : paths.offsets()) {
                shifts_.push_back(sign * (offset.dy * layout_.stride + offset.dx));
            }
        }
    }

    void run(const std::vector<double>& chebyshev) {
        build();
        seed();
        if (params_.method == WalkMethod::kChebyshev) {
            accumulate(chebyshev[0]);
            for (std::size_t k = 1; k < chebyshev.size(); ++k) {
                const T coefficient = static_cast<T>(chebyshev[k]);
                take(k == 1 ? Step<T>{T(1), T(0), coefficient} : Step<T>{T(2), T(1), coefficient});
            }
        } else {
            for (std::int64_t k = 1; k <= params_.steps; ++k) {
                take({T(1), T(0), k == params_.steps ? T(1) : T(0)});
            }
        }
        write();
    }

  private:
    void build() {
        parallel_for(
            execution_, layout_.height, kBuildRows, [&](std::int64_t begin, std::int64_t end) {
                std::vector<T> scratch(static_cast<std::size_t>(layout_.blocks * kLanes<T>));
                for (std::int64_t y = begin; y < end; ++y) {
                    build_row(paths_, layout_, params_.beta, boundary_, y, scratch, buffers_);
                }
            });
    }

    T* row(T* maps, std::int64_t map, std::int64_t y) const {
        return maps + map * layout_.plane + (y + layout_.reach) * layout_.stride + layout_.side;
    }

    void seed() {
        const std::int64_t size = layout_.maps * layout_.plane;
        std::fill(buffers_.current, buffers_.current + 3 * size, T(0));
        for (std::int64_t map = 0; map < layout_.maps; ++map) {
            for (std::int64_t y = 0; y < layout_.height; ++y) {
                const T* const cam = cam_ + (map * layout_.height + y) * layout_.width;
                const T* const boundary = boundary_ + y * layout_.width;
                T* const to = row(buffers_.current, map, y);
                for (std::int64_t x = 0; x < layout_.width; ++x) {
                    to[x] = cam[x] * (T(1) - boundary[x]);
                }
            }
        }
    }

    void accumulate(double coefficient) {
        const std::int64_t size = layout_.maps * layout_.plane;
        for (std::int64_t i = 0; i < size; ++i) {
            buffers_.sum[i] += static_cast<T>(coefficient) * buffers_.current[i];
        }
    }

    void take(const Step<T>& step) {
        // A helper thread may not poll for signals, but it sees what the calling thread found.
        if (params_.execution.cancel && params_.execution.cancel->requested()) throw Cancelled{};
        parallel_for(execution_, layout_.height, kStepRows,
                     [&](std::int64_t begin, std::int64_t end) {
                         for (std::int64_t y = begin; y < end; ++y) take_row(step, y);
                     });
        std::swap(buffers_.current, buffers_.previous);
    }

    void take_row(const Step<T>& step, std::int64_t y) const {
        std::int64_t map = 0;
        for (; layout_.maps - map >= 4; map += 4) {
            step_row<T, 4>(layout_, shifts_.data(), step, y, map, buffers_);
        }
        if (layout_.maps - map >= 2) {
            step_row<T, 2>(layout_, shifts_.data(), step, y, map, buffers_);
            map += 2;
        }
        if (map < layout_.maps) {
            step_row<T, 1>(layout_, shifts_.data(), step, y, map, buffers_);
        }
    }

    void write() const {
        for (std::int64_t map = 0; map < layout_.maps; ++map) {
            for (std::int64_t y = 0; y < layout_.height; ++y) {
                std::copy_n(row(buffers_.sum, map, y), layout_.width,
                            out_ + (map * layout_.height + y) * layout_.width);
            }
        }
    }

    const Paths& paths_;
    const RandomWalkParams<T>& params_;
    Layout<T> layout_;
    Buffers<T> buffers_;
    const T* cam_;
    const T* boundary_;
    T* out_;
    Execution execution_;
    std::vector<std::int64_t> shifts_;  // from a pixel to each of its neighbours
};

// Images that are walked at once, and the workspace of the largest of them.
struct Slots {
    std::int64_t count = 0;
    std::int64_t bytes = 0;
};

template <typename T>
Slots slots(const Paths& paths, const RandomWalkParams<T>& params) {
    Slots result;
    for (std::int64_t b = 0; b < params.batch_count; ++b) {
        const WalkBatch<T>& batch = params.batches[b];
        if (batch.images == 0 || batch.maps == 0) continue;
        result.count += batch.images;
        const Layout<T> layout(paths, batch.height, batch.width, batch.maps);
        result.bytes = std::max(result.bytes, layout.bytes());
    }
    result.count = std::min<std::int64_t>(result.count, std::max(params.execution.threads, 1));
    return result;
}

}  // namespace

std::vector<double> chebyshev_of_power(std::int64_t n, double tol) {
    // The coefficients of x^n are (2 - [k = 0]) 2^-n binom(n, (n - k) / 2) for k = n, n - 2, ...
    // Neither the binomial nor 2^-n fits a double for large n, but their product is a product of
    // factors (2i - 1) / 2i at its largest, and falls by the ratio (n - k) / (n + k + 2) from
    // there.
    const std::int64_t lowest = n % 2;
    double value = lowest == 0 ? 1.0 : 2.0;
    for (std::int64_t i = 1; i <= (n + lowest) / 2; ++i) {
        value *= 1.0 - 0.5 / static_cast<double>(i);
    }
    std::vector<double> coefficients(static_cast<std::size_t>(lowest + 1), 0.0);
    coefficients.back() = value;
    for (std::int64_t k = lowest; k < n && value > 0.0; k += 2) {
        value *= static_cast<double>(n - k) / static_cast<double>(n + k + 2);
        if (k == 0) value *= 2.0;
        coefficients.push_back(0.0);
        coefficients.push_back(value);
    }

    double dropped = 0.0;
    while (coefficients.size() > static_cast<std::size_t>(lowest + 1) &&
           dropped + coefficients.back() <= tol) {
        dropped += coefficients.back();
        coefficients.resize(coefficients.size() - 2);
    }

    double kept = 0.0;
    for (auto c = coefficients.rbegin(); c != coefficients.rend(); ++c) kept += *c;
    for (double& c : coefficients) c /= kept;
    return coefficients;
}

template <typename T>
std::int64_t random_walk_workspace_bytes(const RandomWalkParams<T>& params) {
    const Slots all = slots(Paths(params.radius), params);
    return all.count * all.bytes;
}

template <typename T>
void random_walk(const RandomWalkParams<T>& params) {
    const Paths paths(params.radius);
    std::vector<double> chebyshev;
    if (params.method == WalkMethod::kChebyshev) {
        chebyshev = chebyshev_of_power(params.steps, params.tol);
    }
    std::vector<std::pair<const WalkBatch<T>*, std::int64_t>> images;
    for (std::int64_t b = 0; b < params.batch_count; ++b) {
        const WalkBatch<T>& batch = params.batches[b];
        if (batch.maps == 0) continue;
        for (std::int64_t n = 0; n < batch.images; ++n) images.emplace_back(&batch, n);
    }

    // Images go to threads; threads that find no image left help with the rows of the others.
    // Nothing is summed across pixels, so who does what changes no bit.
    const Slots all = slots(paths, params);
    std::vector<std::int64_t> idle;
    for (std::int64_t slot = 0; slot < all.count; ++slot) idle.push_back(slot);
    std::mutex mutex;
    const std::thread::id caller = std::this_thread::get_id();
    parallel_for(params.execution, static_cast<std::int64_t>(images.size()), 1,
                 [&](std::int64_t begin, std::int64_t end) {
                     std::int64_t slot = 0;
                     {
                         const std::lock_guard<std::mutex> lock(mutex);
                         slot = idle.back();
                         idle.pop_back();
                     }
                     // Only the calling thread may poll for signals.
                     Execution execution = params.execution;
                     if (std::this_thread::get_id() != caller) execution.cancel = nullptr;
                     for (std::int64_t i = begin; i < end; ++i) {
                         const auto& [batch, image] = images[static_cast<std::size_t>(i)];
                         Walk<T>(paths, params, *batch, image,
                                 static_cast<char*>(params.workspace) + slot * all.bytes, execution)
                             .run(chebyshev);
                     }
                     const std::lock_guard<std::mutex> lock(mutex);
                     idle.push_back(slot);
                 });
}

template std::int64_t random_walk_workspace_bytes(const RandomWalkParams<float>&);
template std::int64_t random_walk_workspace_bytes(const RandomWalkParams<double>&);
template void random_walk(const RandomWalkParams<float>&);
template void random_walk(const RandomWalkParams<double>&);

}  // namespace wsss_fast
