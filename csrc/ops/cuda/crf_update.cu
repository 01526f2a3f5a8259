#include <cmath>

#include "common/cuda/element.h"
#include "common/cuda/fast_math.h"
#include "common/cuda/label.h"
#include "common/cuda/launch.h"
#include "ops/cuda/crf_row.h"
#include "ops/cuda/crf_update.h"
#include "ops/cuda/lattice_slice.h"

namespace wsss_fast::cuda {
namespace {

// -unary; what pads it has no probability.
template <Element kElement, int kWidth, typename T, typename Part>
__device__ Pack<T, kWidth> read_energies(const Update<T>& update, const Part& part,
                                         std::int64_t pack) {
    const std::int64_t last = update.maps.classes - 1;
    Pack<T, kWidth> energies;
    for (int k = 0; k < kWidth; ++k) {
        // No load is under a condition, so that all are under way at once.
        const std::int64_t c = pack * kWidth + k;
        const std::int64_t at =
            update.maps.at(part.image, part.set, c < last ? c : last, part.point);
        const T energy = -load_element<T>(update.unary, kElement, at);
        energies.value[k] = c <= last ? energy : -static_cast<T>(INFINITY);
    }
    return energies;
}

template <int kWidth, typename T, typename Part, typename Held>
__device__ void add_term(const Update<T>& update, const SlicedTerm<T>& term, const Part& part,
                         Held& held) {
    using Row = Pack<T, kWidth>;
    const std::int64_t packs = update.maps.shape.packs;
    const std::int64_t classes = update.maps.classes;
    // A lattice that is the same in all images has the point once; any other has it once an image.
    const std::int64_t at = term.same_in_all ? part.point : part.point_of_batch;
    const Row* rows =
        packs_at<kWidth>(term.rows + part.image * term.copy_values) + part.set * packs;
    const bool matrix = term.compat_kind == CrfCompat::kMatrix;
    const bool scalar = term.compat_kind == CrfCompat::kScalar;
    const T weight = scalar ? *term.compat : T(0);
    T* messages = matrix ? update.messages + part.row * packs * kWidth : nullptr;
    part.for_each_pack([&](std::int64_t pack) {
        const Row own = slice(term.lattice, at, rows + pack, update.maps.sets * packs);
        if (matrix) {
            packs_at<kWidth>(messages)[pack] = own;
            return;
        }
        Row sum = held.get(pack);
        if (scalar) {
            add_scaled(sum, weight, own);
        } else {
            for (int i = 0; i < kWidth; ++i) {
                const std::int64_t c = pack * kWidth + i;
                if (c < classes)
                    sum.value[i] = multiply_add(-term.compat[c], own.value[i], sum.value[i]);
            }
        }
        held.set(pack, sum);
    });
    if (!matrix) return;
    // Every thread of the row needs the messages of all classes.
    __syncwarp();
    part.for_each_pack([&](std::int64_t pack) {
        Row cost = zero_pack<T, kWidth>();
        for (std::int64_t c = 0; c < classes; ++c)
            add_scaled(cost, messages[c], packs_at<kWidth>(term.compat)[c * packs + pack]);
        Row sum = held.get(pack);
        add_scaled(sum, T(-1), cost);
        held.set(pack, sum);
    });
    __syncwarp();
}

// Takes the greatest energy of the row off all of them and gives the sum of their exponentials.
// Held from then on is keep(energy, its exponential).
template <int kWidth, typename T, typename Part, typename Held, typename Keep>
__device__ T exponentials(const Part& part, Held& held, Keep&& keep) {
    T most = -static_cast<T>(INFINITY);
    part.for_each_pack([&](std::int64_t pack) {
        const Pack<T, kWidth> row = held.get(pack);
        for (int i = 0; i < kWidth; ++i) most = row.value[i] > most ? row.value[i] : most;
    });
    most = part.over_lanes(most, [](T a, T b) { return a > b ? a : b; });
    T sum = 0;
    part.for_each_pack([&](std::int64_t pack) {
        Pack<T, kWidth> row = held.get(pack);
        for (int i = 0; i < kWidth; ++i) {
            const T energy = row.value[i] - most;
            const T power = fast_exp_nonpositive(energy);
            sum += power;
            row.value[i] = keep(energy, power);
        }
        held.set(pack, row);
    });
    return part.over_lanes(sum, [](T a, T b) { return a + b; });
}

// value(held) of each class to where the caller wants it.
template <int kWidth, typename T, typename Part, typename Held, typename Value>
__device__ void write_classes(const Update<T>& update, const Part& part, const Held& held,
                              Value&& value) {
    const Output& output = update.output;
    const bool bad = output.bad[part.image] != 0;
    part.for_each_pack([&](std::int64_t pack) {
        const Pack<T, kWidth> row = held.get(pack);
        for (int i = 0; i < kWidth; ++i) {
            const std::int64_t c = pack * kWidth + i;
            if (c >= update.maps.classes) break;
            store_element(output.memory, output.element,
                          update.maps.at(part.image, part.set, c, part.point),
                          bad ? static_cast<T>(NAN) : value(row.value[i]));
        }
    });
}

// A class and what it has of Q.
template <typename T>
struct Best {
    T q;
    std::int32_t label;

    // The greatest, and the first of equals.
    __device__ void consider(T other_q, std::int32_t other) {
        if (other_q > q || (other_q == q && other < label)) {
            q = other_q;
            label = other;
        }
    }
};

template <int kWidth, typename T, typename Part, typename Held>
__device__ void write_label(const Update<T>& update, const Part& part, const Held& held, T factor) {
    Best<T> best{-1, 0};
    part.for_each_pack([&](std::int64_t pack) {
        const Pack<T, kWidth> row = held.get(pack);
        for (int i = 0; i < kWidth; ++i) {
            const std::int64_t c = pack * kWidth + i;
            if (c < update.maps.classes)
                best.consider(row.value[i] * factor, static_cast<std::int32_t>(c));
        }
    });
    for (int step = part.lanes / 2; step > 0; step /= 2) {
        const T q = __shfl_xor_sync(0xFFFFFFFFu, best.q, step);
        const std::int32_t label = __shfl_xor_sync(0xFFFFFFFFu, best.label, step);
        best.consider(q, label);
    }
    if (!part.is_first) return;
    const Output& output = update.output;
    const std::int64_t map = part.image * update.maps.sets + part.set;
    store_label(output.memory, output.label_bytes, map * update.maps.of_image + part.point,
                best.label);
}

// What is asked for of the energies that are held.
template <int kWidth, typename T, typename Part, typename Held>
__device__ void finish_row(const Update<T>& update, const Part& part, Held& held,
                           Pack<T, kWidth>* out) {
    if (update.then == Then::kKeep) {
        part.for_each_pack([&](std::int64_t pack) { out[pack] = held.get(pack); });
        return;
    }
    if (update.then == Then::kOutput && update.output.kind == CrfOutput::kLogProbs) {
        const T sum = exponentials<kWidth, T>(part, held, [](T energy, T) { return energy; });
        const T less = std::log(sum);
        write_classes<kWidth>(update, part, held, [less](T energy) { return energy - less; });
        return;
    }
    const T sum = exponentials<kWidth, T>(part, held, [](T, T power) { return power; });
    const T factor = fast_inverse(sum);
    if (update.then == Then::kSoftmax) {
        part.for_each_pack([&](std::int64_t pack) {
            Pack<T, kWidth> q = held.get(pack);
            for (int i = 0; i < kWidth; ++i) q.value[i] *= factor;
            out[pack] = q;
        });
    } else if (update.output.kind == CrfOutput::kProbs) {
        write_classes<kWidth>(update, part, held, [factor](T power) { return power * factor; });
    } else {
        write_label<kWidth>(update, part, held, factor);
    }
}

// Reads the energies from the unary and keeps them as rows.
template <bool kOnePack, int kWidth, Element kElement, typename T>
__global__ void start_rows(Update<T> update, RowsOfThreads rows) {
    const std::int64_t packs = update.maps.shape.packs;
    const RowPart<kOnePack> part(update.maps, rows);
    Pack<T, kWidth>* out = packs_at<kWidth>(update.rows) + part.row * packs;
    HeldPacks<kOnePack, kWidth, T> held(out);
    auto* energies = packs_at<kWidth>(update.energies) + part.row * packs;
    part.for_each_pack([&](std::int64_t pack) {
        const auto read = read_energies<kElement, kWidth>(update, part, pack);
        energies[pack] = read;
        held.set(pack, read);
    });
    finish_row(update, part, held, out);
}

// With so many blocks on a multiprocessor at the least, a thread has registers for six corners.
template <typename T>
constexpr int kBlocks = sizeof(T) == 4 ? 4 : 2;

template <bool kOnePack, int kWidth, typename T>
__global__ void __launch_bounds__(kThreads, kBlocks<T>)
    update_rows(Update<T> update, RowsOfThreads rows) {
    const std::int64_t packs = update.maps.shape.packs;
    const RowPart<kOnePack> part(update.maps, rows);
    Pack<T, kWidth>* out = packs_at<kWidth>(update.rows) + part.row * packs;
    HeldPacks<kOnePack, kWidth, T> held(out);
    const auto* energies = packs_at<kWidth>(update.energies) + part.row * packs;
    part.for_each_pack([&](std::int64_t pack) { held.set(pack, energies[pack]); });
    for (int k = 0; k < update.terms.count; ++k)
        add_term<kWidth>(update, update.terms.term[k], part, held);
    finish_row(update, part, held, out);
}

template <bool kOnePack, int kWidth, typename T>
void launch_width(const Update<T>& update, const RowsOfThreads& rows, const Place& place) {
    const Shape threads = for_each(update.maps.rows() * rows.lanes());
    if (!update.unary) {
        launch(&update_rows<kOnePack, kWidth, T>, threads, place, update, rows);
        return;
    }
    with_element<T>(update.unary_element, [&](auto element) {
        constexpr Element kElement = decltype(element)::value;
        launch(&start_rows<kOnePack, kWidth, kElement, T>, threads, place, update, rows);
    });
}

}  // namespace

template <typename T>
void launch_update(const Update<T>& update, const Place& place) {
    const Maps& maps = update.maps;
    const RowsOfThreads rows(maps);
    with_width(maps.shape.width, [&](auto width) {
        constexpr int kWidth = decltype(width)::value;
        if (maps.shape.packs <= rows.lanes()) {
            launch_width<true, kWidth>(update, rows, place);
        } else if constexpr (kWidth == 4) {
            launch_width<false, kWidth>(update, rows, place);
        }
    });
}

template void launch_update(const Update<float>&, const Place&);
template void launch_update(const Update<double>&, const Place&);

}  // namespace wsss_fast::cuda
