#include <algorithm>
#include <cmath>
#include <vector>

#include "common/cuda/carve.h"
#include "common/cuda/divide.h"
#include "common/cuda/element.h"
#include "common/cuda/launch.h"
#include "ops/cuda/crf.h"
#include "ops/cuda/crf_update.h"
#include "ops/cuda/lattice_rows.h"
#include "ops/cuda/lattice_slice.h"

namespace wsss_fast::cuda {
namespace {

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
    if (t < lattice.entries) lattice.entry[t].weight *= norm[lattice.entry[t].point];
}
template <typename T>
__global__ void scale_weights(LatticeView<T> lattice, T gain, const T* norm) {
    const std::int64_t t = thread_number();
    if (t < lattice.entries) {
        const Quotient of_point = divide(t, lattice.corners());
        lattice.corner[t].weight *= gain * (norm ? norm[of_point.whole] : T(1));
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
        const int iterations = params_.term_count > 0 ? params_.iterations : 0;
        update(params_.unary, 0, iterations > 0 ? Then::kSoftmax : Then::kOutput);
        for (int i = 1; i <= iterations; ++i) {
            for (Prepared& term : prepared_) filter(term);
            update(nullptr, params_.term_count, i < iterations ? Then::kSoftmax : Then::kOutput);
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
            splat_ones<T>(ones, prepared.rows, place);
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
        // The blur changes buffers with every pass: it starts where it will end in the term's own.
        const bool odd = blur_passes(term.on.lattice.dims) % 2 == 1;
        BlurBuffers<T> buffers{odd ? other_ : term.rows, odd ? term.rows : other_};
        splat<T>(term.on, q_, buffers.rows, params_.place);
        blur(term.on, BlurOrder::kForward, buffers, params_.place);
    }

    // Reads the energies from the unary where there is one, adds the messages of the first `count`
    // terms to them, and then does what is asked.
    void update(const void* unary, int count, Then then) {
        Update<T> step;
        step.maps = maps_;
        step.unary = unary;
        step.unary_element = params_.element;
        step.energies = energies_;
        step.messages = messages_;
        step.output = {params_.output, params_.out, params_.element, params_.label_bytes, bad_};
        for (int begin = 0; begin == 0 || begin < count; begin += kTermsAtOnce) {
            const bool last = begin + kTermsAtOnce >= count;
            step.terms.count = std::min(count - begin, kTermsAtOnce);
            for (int k = 0; k < step.terms.count; ++k) {
                const Prepared& term = prepared_[begin + k];
                const CrfTerm<T>& given = params_.terms[begin + k];
                step.terms.term[k] = {
                    term.on.lattice,
                    term.rows,
                    term.same_in_all,
                    term.same_in_all ? term.on.lattice_values() / term.on.copies : 0,
                    given.compat_kind,
                    term.matrix ? term.matrix : given.compat};
            }
            step.then = last ? then : Then::kKeep;
            step.rows = last ? q_ : sums_;
            launch_update(step, params_.place);
            step.energies = sums_;
        }
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
