#include <algorithm>
#include <cmath>
#include <vector>

#include "common/cuda/carve.h"
#include "common/cuda/launch.h"
#include "common/exp_nonpositive.h"
#include "ops/cuda/crf.h"
#include "ops/cuda/element.h"
#include "ops/cuda/lattice_rows.h"
#include "ops/cuda/lattice_slice.h"

namespace wsss_fast::cuda {
namespace {

constexpr int kTermsAtOnce = 8;  // more are added by launches of their own

// Unaries and what becomes of them: a map is one of the M of an image, and has a row of classes for
// each of the image's points. Rows lie by image, then by point, then by set, so that the sets of a
// point go through a lattice as one long row.
struct Maps {
    std::int64_t images;
    std::int64_t sets;
    std::int64_t classes;
    std::int64_t of_image;  // points
    RowShape shape;         // of one row of classes

    std::int64_t rows() const { return images * of_image * sets; }
    std::int64_t values() const { return rows() * shape.channels(); }
    // The index in [N][M][C][H][W] of class c of the row.
    WSSS_FAST_HOST_DEVICE std::int64_t at(std::int64_t image, std::int64_t set, std::int64_t c,
                                          std::int64_t point) const {
        return ((image * sets + set) * classes + c) * of_image + point;
    }
};

// -unary as rows; what pads them has no probability.
template <int kWidth, typename T>
__global__ void read_energies(Maps maps, const void* unary, Element element,
                              Pack<T, kWidth>* rows) {
    const std::int64_t t = thread_number();
    const std::int64_t points = maps.images * maps.of_image;
    if (t >= points * maps.sets * maps.shape.packs) return;
    const Quotient of_pack = divide(t, points);
    const Quotient of_set = divide(of_pack.whole, maps.shape.packs);
    const Quotient of_image = divide(of_pack.rest, maps.of_image);
    Pack<T, kWidth> pack;
    for (int k = 0; k < kWidth; ++k) {
        const std::int64_t c = of_set.rest * kWidth + k;
        const std::int64_t at = maps.at(of_image.whole, of_set.whole, c, of_image.rest);
        pack.value[k] =
            c < maps.classes ? -load_element<T>(unary, element, at) : -static_cast<T>(INFINITY);
    }
    rows[(of_pack.rest * maps.sets + of_set.whole) * maps.shape.packs + of_set.rest] = pack;
}

// One term as the update sees it, after its blur.
template <typename T>
struct SlicedTerm {
    LatticeView<T> lattice;
    const T* rows;     // [copies][lattice rows][sets][classes]
    bool same_in_all;  // one lattice for all images, a copy of its rows for each
    CrfCompat compat_kind;
    const T* compat;  // a matrix is transposed, its rows padded as those of the maps
};

template <typename T>
struct UpdateTerms {
    SlicedTerm<T> term[kTermsAtOnce];
    int count;
};

// What an update does with the energies it has added up.
enum class Then { kKeep, kSoftmax, kOutput };

struct Output {
    CrfOutput kind;
    void* memory;
    Element element;
    int label_bytes;
    const std::int32_t* bad;  // [images]
};

template <typename T>
struct Update {
    Maps maps;
    UpdateTerms<T> terms;
    const T* energies;  // rows, to which the terms are added
    T* rows;            // where the sums, then Q go; where that is the output, it is scratch
    T* messages;        // scratch rows of the matrices, or null
    Then then;
    Output output;
};

// The threads of a warp that share a row of classes: a power of two of them.
int lanes_of(const RowShape& shape) {
    int lanes = 1;
    while (lanes < 32 && lanes < shape.packs) lanes *= 2;
    return lanes;
}

// What a thread has of a row of classes: packs lane, lane + lanes, ... All threads of a warp go
// through its shuffles; those of no row have no packs, and do nothing else.
struct RowPart {
    std::int64_t row;
    std::int64_t image;
    std::int64_t set;
    std::int64_t point;           // in its image
    std::int64_t point_of_batch;  // among those of all images
    std::int64_t lane;
    int lanes;
    std::int64_t end;  // of the packs
    bool is_first;     // of the threads of its row

    __device__ RowPart(const Maps& maps, int lanes_of_row) : lanes(lanes_of_row) {
        const Quotient of_row = divide(thread_number(), lanes);
        const bool real = of_row.whole < maps.images * maps.of_image * maps.sets;
        row = real ? of_row.whole : 0;
        const Quotient of_point = divide(row, maps.sets);
        set = of_point.rest;
        point_of_batch = of_point.whole;
        const Quotient of_image = divide(point_of_batch, maps.of_image);
        image = of_image.whole;
        point = of_image.rest;
        lane = of_row.rest;
        end = real ? maps.shape.packs : 0;
        is_first = real && lane == 0;
    }

    // body(pack)
    template <typename Body>
    __device__ void for_each_pack(Body&& body) const {
        for (std::int64_t pack = lane; pack < end; pack += lanes) body(pack);
    }

    // choose(one, another) over the values of all threads of the row.
    template <typename T, typename Choose>
    __device__ T over_lanes(T value, Choose&& choose) const {
        for (int step = lanes / 2; step > 0; step /= 2)
            value = choose(value, __shfl_xor_sync(0xFFFFFFFFu, value, step));
        return value;
    }
};

// The energies, and then Q, of a thread's packs: in registers where it has one pack at the most,
// else in the row itself, of which no other thread sees these packs.
template <bool kOnePack, int kWidth, typename T>
class HeldPacks {
  public:
    __device__ explicit HeldPacks(Pack<T, kWidth>* row) : row_(row) {}

    __device__ Pack<T, kWidth> get(std::int64_t pack) const {
        if constexpr (kOnePack) return held_;
        return row_[pack];
    }
    __device__ void set(std::int64_t pack, const Pack<T, kWidth>& value) {
        if constexpr (kOnePack) {
            held_ = value;
        } else {
            row_[pack] = value;
        }
    }

  private:
    Pack<T, kWidth>* row_;
    Pack<T, kWidth> held_;
};

template <int kWidth, typename T, typename Held>
__device__ void add_term(const Update<T>& update, const SlicedTerm<T>& term, const RowPart& part,
                         Held& held) {
    using Row = Pack<T, kWidth>;
    const std::int64_t packs = update.maps.shape.packs;
    const std::int64_t classes = update.maps.classes;
    // A lattice that is the same in all images has the point once; any other has it once an image.
    const std::int64_t at = term.same_in_all ? part.point : part.point_of_batch;
    const std::int64_t first_row = term.same_in_all ? part.image * term.lattice.rows : 0;
    const Row* rows =
        packs_at<kWidth>(term.rows) + (first_row * update.maps.sets + part.set) * packs;
    const auto message = [&](std::int64_t pack) {
        return slice(term.lattice, at, rows + pack, update.maps.sets * packs);
    };
    if (term.compat_kind == CrfCompat::kScalar) {
        const T weight = *term.compat;
        part.for_each_pack([&](std::int64_t pack) {
            Row sum = held.get(pack);
            add_scaled(sum, weight, message(pack));
            held.set(pack, sum);
        });
    } else if (term.compat_kind == CrfCompat::kDiagonal) {
        part.for_each_pack([&](std::int64_t pack) {
            Row sum = held.get(pack);
            const Row own = message(pack);
            for (int i = 0; i < kWidth; ++i) {
                const std::int64_t c = pack * kWidth + i;
                if (c < classes) sum.value[i] -= term.compat[c] * own.value[i];
            }
            held.set(pack, sum);
        });
    } else {
        // Every thread of the row needs the messages of all classes.
        T* messages = update.messages + part.row * packs * kWidth;
        part.for_each_pack(
            [&](std::int64_t pack) { packs_at<kWidth>(messages)[pack] = message(pack); });
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
}

// Takes the greatest energy of the row off all of them and gives the sum of their exponentials.
// Held from then on is keep(energy, its exponential).
template <int kWidth, typename T, typename Held, typename Keep>
__device__ T exponentials(const RowPart& part, Held& held, Keep&& keep) {
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
            const T power = exp_nonpositive(energy);
            sum += power;
            row.value[i] = keep(energy, power);
        }
        held.set(pack, row);
    });
    return part.over_lanes(sum, [](T a, T b) { return a + b; });
}

// value(held) of each class to where the caller wants it.
template <int kWidth, typename T, typename Held, typename Value>
__device__ void write_classes(const Update<T>& update, const RowPart& part, const Held& held,
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

__device__ void store_label(void* memory, int bytes, std::int64_t i, std::int32_t label) {
    if (bytes == 1) {
        static_cast<std::uint8_t*>(memory)[i] = static_cast<std::uint8_t>(label);
    } else if (bytes == 2) {
        static_cast<std::int16_t*>(memory)[i] = static_cast<std::int16_t>(label);
    } else {
        static_cast<std::int32_t*>(memory)[i] = label;
    }
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

template <int kWidth, typename T, typename Held>
__device__ void write_label(const Update<T>& update, const RowPart& part, const Held& held,
                            T factor) {
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

template <bool kOnePack, int kWidth, typename T>
__global__ void update_rows(Update<T> update, int lanes) {
    const std::int64_t packs = update.maps.shape.packs;
    const RowPart part(update.maps, lanes);
    Pack<T, kWidth>* out = packs_at<kWidth>(update.rows) + part.row * packs;
    HeldPacks<kOnePack, kWidth, T> held(out);
    const auto* energies = packs_at<kWidth>(update.energies) + part.row * packs;
    part.for_each_pack([&](std::int64_t pack) { held.set(pack, energies[pack]); });
    for (int k = 0; k < update.terms.count; ++k)
        add_term<kWidth>(update, update.terms.term[k], part, held);

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
    const T factor = T(1) / sum;
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

// 1 / sqrt(mass) or 1 / mass, of the filter of ones in `rows`.
template <typename T>
__global__ void find_norms(LatticeView<T> lattice, CrfNormalization normalization, T gain,
                           const Pack<T, 1>* rows, T* norm) {
    const std::int64_t t = thread_number();
    if (t >= lattice.points) return;
    const T mass = gain * slice(lattice, t, rows, 1).value[0] + T(1e-20);
    norm[t] = T(1) / (normalization == CrfNormalization::kSymmetric ? std::sqrt(mass) : mass);
}

// Puts the factors before and after the filter into the weights of the splat and of the slice.
template <typename T>
__global__ void scale_entries(LatticeView<T> lattice, const T* norm) {
    const std::int64_t t = thread_number();
    if (t < lattice.entries) lattice.entry_weight[t] *= norm[lattice.entry_point[t]];
}
template <typename T>
__global__ void scale_weights(LatticeView<T> lattice, T gain, const T* norm) {
    const std::int64_t t = thread_number();
    if (t < lattice.entries) {
        const Quotient of_corner = divide(t, lattice.points);
        lattice.weight[t] *= gain * (norm ? norm[of_corner.rest] : T(1));
    }
}

template <typename T>
__global__ void add_bad_images(LatticeView<T> lattice, std::int64_t images, std::int32_t* bad) {
    const std::int64_t t = thread_number();
    if (t < images && lattice.bad[lattice.images == 1 ? 0 : t] != 0) bad[t] = 1;
}

// [classes][classes] to [classes][padded classes], the other way round.
template <typename T>
__global__ void transpose_matrix(const T* matrix, std::int64_t classes, std::int64_t padded,
                                 T* out) {
    const std::int64_t t = thread_number();
    if (t >= classes * padded) return;
    const Quotient of_column = divide(t, padded);
    out[t] = of_column.rest < classes ? matrix[of_column.rest * classes + of_column.whole] : T(0);
}

template <typename T>
class MeanField {
  public:
    // Without a workspace in the parameters it only counts the bytes.
    explicit MeanField(const CrfParams<T>& params)
        : params_(params),
          maps_{params.images, params.sets, params.classes, params.points,
                row_shape(params.classes)},
          carve_(params.workspace) {
        std::int64_t most_rows = 0;
        bool has_matrix = false;
        for (int k = 0; k < params.term_count; ++k) {
            const CrfTerm<T>& term = params.terms[k];
            Prepared prepared;
            prepared.same_in_all = term.kind == CrfFeatures::kPosition;
            const std::int64_t images = prepared.same_in_all ? 1 : params.images;
            const LatticeView<T> view = view_lattice<T>(term.lattice, term.lattice_bytes, images,
                                                        images * params.points, term.dims);
            RowShape shape = maps_.shape;
            shape.packs *= params.sets;
            prepared.on = {view, prepared.same_in_all ? params.images : 1, shape};
            prepared.rows = carve_.template take<T>(prepared.on.lattice_values());
            prepared.matrix = nullptr;
            if (term.compat_kind == CrfCompat::kMatrix) {
                prepared.matrix = carve_.template take<T>(params.classes * maps_.shape.channels());
                has_matrix = true;
            }
            most_rows = std::max(most_rows, prepared.on.lattice_values());
            prepared_.push_back(prepared);
        }
        other_ = carve_.template take<T>(most_rows);
        energies_ = carve_.template take<T>(maps_.values());
        q_ = carve_.template take<T>(maps_.values());
        sums_ =
            params.term_count > kTermsAtOnce ? carve_.template take<T>(maps_.values()) : nullptr;
        messages_ = has_matrix ? carve_.template take<T>(maps_.values()) : nullptr;
        norm_ = carve_.template take<T>(params.images * params.points);
        bad_ = carve_.template take<std::int32_t>(params.images);
    }

    std::int64_t bytes() const { return carve_.bytes(); }

    void run() {
        fill_bytes(bad_, 0, params_.images * 4, params_.place);
        for (int k = 0; k < params_.term_count; ++k) prepare(params_.terms[k], prepared_[k]);
        with_width(maps_.shape.width, [&](auto width) {
            constexpr int kWidth = decltype(width)::value;
            launch(&read_energies<kWidth, T>, for_each(maps_.rows() * maps_.shape.packs),
                   params_.place, maps_, params_.unary, params_.element,
                   packs_at<kWidth>(energies_));
        });
        const int iterations = params_.term_count > 0 ? params_.iterations : 0;
        update(0, iterations > 0 ? Then::kSoftmax : Then::kOutput);
        for (int i = 1; i <= iterations; ++i) {
            for (Prepared& term : prepared_) filter(term);
            update(params_.term_count, i < iterations ? Then::kSoftmax : Then::kOutput);
        }
    }

  private:
    struct Prepared {
        RowsOnLattice<T> on;
        bool same_in_all;
        T* rows;    // where its messages lie after the blur
        T* matrix;  // transposed
    };

    void prepare(const CrfTerm<T>& term, const Prepared& prepared) {
        const LatticeView<T>& lattice = prepared.on.lattice;
        const Place& place = params_.place;
        const T gain = lattice_gain<T>(term.dims);
        const auto normalization = term.normalization;
        launch(&add_bad_images<T>, for_each(params_.images), place, lattice, params_.images, bad_);
        if (prepared.matrix) {
            const std::int64_t padded = maps_.shape.channels();
            launch(&transpose_matrix<T>, for_each(params_.classes * padded), place, term.compat,
                   params_.classes, padded, prepared.matrix);
        }
        const T* norm = nullptr;
        if (normalization != CrfNormalization::kNone) {
            const RowsOnLattice<T> ones{lattice, 1, row_shape(1)};
            splat<T>(ones, nullptr, prepared.rows, place);
            const auto blurred = blur(ones, BlurOrder::kForward, {prepared.rows, other_}, place);
            launch(&find_norms<T>, for_each(lattice.points), place, lattice, normalization, gain,
                   packs_at<1>(static_cast<const T*>(blurred.rows)), norm_);
            norm = norm_;
        }
        if (normalization == CrfNormalization::kSymmetric ||
            normalization == CrfNormalization::kBefore) {
            launch(&scale_entries<T>, for_each(lattice.entries), place, lattice, norm);
        }
        launch(&scale_weights<T>, for_each(lattice.entries), place, lattice, gain,
               normalization == CrfNormalization::kBefore ? nullptr : norm);
    }

    void filter(Prepared& term) {
        // The blur changes buffers with every axis: it starts where it will end in the term's own.
        const bool odd = term.on.lattice.corners() % 2 == 1;
        BlurBuffers<T> buffers{odd ? other_ : term.rows, odd ? term.rows : other_};
        splat<T>(term.on, q_, buffers.rows, params_.place);
        blur(term.on, BlurOrder::kForward, buffers, params_.place);
    }

    // Adds the messages of the first `count` terms to the energies, and then does what is asked.
    void update(int count, Then then) {
        Update<T> step;
        step.maps = maps_;
        step.energies = energies_;
        step.messages = messages_;
        step.output = {params_.output, params_.out, params_.element, params_.label_bytes, bad_};
        for (int begin = 0; begin == 0 || begin < count; begin += kTermsAtOnce) {
            const bool last = begin + kTermsAtOnce >= count;
            step.terms.count = std::min(count - begin, kTermsAtOnce);
            for (int k = 0; k < step.terms.count; ++k) {
                const Prepared& term = prepared_[begin + k];
                const CrfTerm<T>& given = params_.terms[begin + k];
                step.terms.term[k] = {term.on.lattice, term.rows, term.same_in_all,
                                      given.compat_kind, term.matrix ? term.matrix : given.compat};
            }
            step.then = last ? then : Then::kKeep;
            step.rows = last ? q_ : sums_;
            launch_update(step);
            step.energies = sums_;
        }
    }

    void launch_update(const Update<T>& step) const {
        const int lanes = lanes_of(maps_.shape);
        const Shape threads = for_each(maps_.rows() * lanes);
        with_width(maps_.shape.width, [&](auto width) {
            constexpr int kWidth = decltype(width)::value;
            if (maps_.shape.packs <= lanes) {
                launch(&update_rows<true, kWidth, T>, threads, params_.place, step, lanes);
            } else if constexpr (kWidth == 4) {
                launch(&update_rows<false, kWidth, T>, threads, params_.place, step, lanes);
            }
        });
    }

    const CrfParams<T>& params_;
    Maps maps_;
    Carve carve_;
    std::vector<Prepared> prepared_;
    T* other_ = nullptr;           // the second buffer of every blur
    T* energies_ = nullptr;        // rows of -unary
    T* q_ = nullptr;               // rows of Q
    T* sums_ = nullptr;            // rows of energies with the messages of some of the terms
    T* messages_ = nullptr;        // rows of a matrix's messages
    T* norm_ = nullptr;            // [N H W]
    std::int32_t* bad_ = nullptr;  // [N]
};

}  // namespace

template <typename T>
std::int64_t crf_workspace_bytes(const CrfParams<T>& params) {
    CrfParams<T> counted = params;
    counted.workspace = nullptr;
    return MeanField<T>(counted).bytes();
}

template <typename T>
void crf(const CrfParams<T>& params) {
    const OnDevice on_device(params.place);
    const std::int64_t maps = params.images * params.sets * params.points;
    mark_unset(params.out, params.output == CrfOutput::kLabels
                               ? maps * params.label_bytes
                               : maps * params.classes * bytes_of(params.element));
    if (maps * params.classes == 0) return;
    MeanField<T>(params).run();
}

template std::int64_t crf_workspace_bytes(const CrfParams<float>&);
template std::int64_t crf_workspace_bytes(const CrfParams<double>&);
template void crf(const CrfParams<float>&);
template void crf(const CrfParams<double>&);

}  // namespace wsss_fast::cuda
