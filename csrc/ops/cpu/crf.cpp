#include "ops/crf.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "common/refuse.h"
#include "ops/cpu/lattice_values.h"
#include "ops/cpu/softmax.h"
#include "ops/lattice.h"

namespace wsss_fast {
namespace {

constexpr std::int64_t kTile = kLatticeTile;
constexpr std::int64_t kTilesPerBand = kLatticeBandPoints / kTile;
constexpr int kRowAtOnce = 32;  // unaries of one image go through together up to this row width

template <typename T>
class PositionFeatures : public FeatureSource<T> {
  public:
    PositionFeatures(std::int64_t height, std::int64_t width, const T* sxy)
        : height_(height), width_(width), sx_(sxy[0]), sy_(sxy[1]) {}

    std::int64_t points() const override { return height_ * width_; }
    int dims() const override { return 2; }
    void range(int i, T& low, T& high) const override {
        low = 0;
        high = i == 0 ? static_cast<T>(width_ - 1) / sx_ : static_cast<T>(height_ - 1) / sy_;
    }
    void read(std::int64_t begin, std::int64_t count, T* out) const override {
        std::int64_t y = begin / width_;
        std::int64_t x = begin % width_;
        for (std::int64_t p = 0; p < count; ++p) {
            out[p] = static_cast<T>(x) / sx_;
            out[kTile + p] = static_cast<T>(y) / sy_;
            if (++x == width_) {
                x = 0;
                ++y;
            }
        }
    }

  private:
    std::int64_t height_;
    std::int64_t width_;
    T sx_;
    T sy_;
};

// Pixel: std::uint8_t, or T holding 0 to 255.
template <typename T, typename Pixel>
class ColourFeatures final : public PositionFeatures<T> {
    using Base = PositionFeatures<T>;

  public:
    ColourFeatures(const Pixel* image, std::int64_t height, std::int64_t width, const T* sxy,
                   const T* srgb)
        : Base(height, width, sxy), image_(image), srgb_(srgb) {}

    int dims() const override { return 5; }
    void range(int i, T& low, T& high) const override {
        if (i < 2) return Base::range(i, low, high);
        low = 0;
        high = T(255) / srgb_[i - 2];
    }
    void read(std::int64_t begin, std::int64_t count, T* out) const override {
        Base::read(begin, count, out);
        for (int i = 0; i < 3; ++i) {
            const Pixel* from = image_ + i * Base::points() + begin;
            T* to = out + (2 + i) * kTile;
            bool good = true;
            for (std::int64_t p = 0; p < count; ++p) {
                // NaN too becomes 0 here: the lattice must never see what range() did not promise.
                const bool in_range = from[p] >= Pixel(0) && from[p] <= Pixel(255);
                to[p] = in_range ? static_cast<T>(from[p]) / srgb_[i] : T(0);
                good &= in_range;
            }
            if (!good) note_bad(i * Base::points() + begin);
        }
    }
    // Flat index of the first value outside [0, 255] among those that were read, or -1.
    std::int64_t bad() const {
        std::int64_t at = bad_.load();
        if (at == kNone) return -1;
        while (image_[at] >= Pixel(0) && image_[at] <= Pixel(255)) ++at;
        return at;
    }

  private:
    static constexpr std::int64_t kNone = std::numeric_limits<std::int64_t>::max();

    void note_bad(std::int64_t at) const {
        std::int64_t least = bad_.load();
        while (at < least && !bad_.compare_exchange_weak(least, at)) {
        }
    }

    const Pixel* image_;
    const T* srgb_;
    mutable std::atomic<std::int64_t> bad_{kNone};
};

// One pairwise term while an image is worked on.
template <typename T>
struct Term {
    Lattice<T> lattice;
    LatticeValues<T> values;
    Buffer<T> norm;
    const T* before = nullptr;  // [points] factors of what is splatted, or null
    const T* after = nullptr;   // [points] factors of what is sliced, or null
    std::vector<T> compat;      // diagonal: [padded classes]; matrix: its transpose, rows padded
};

template <typename T>
class MeanField {
  public:
    explicit MeanField(const CrfParams<T>& params)
        : params_(params),
          points_(params.height * params.width),
          classes_(static_cast<int>(params.classes)),
          padded_(lattice_row_width(params.classes)),
          terms_(static_cast<std::size_t>(params.kernel_count)) {
        for (int k = 0; k < params.kernel_count; ++k)
            set_compat(params.kernels[k], terms_[static_cast<std::size_t>(k)]);
    }

    void run() {
        if (points_ == 0 || classes_ == 0 || params_.sets == 0) return;
        const std::int64_t together =
            std::min(params_.sets, std::max<std::int64_t>(1, kRowAtOnce / padded_));
        for (image_ = 0; image_ < params_.images; ++image_) {
            for (int k = 0; k < params_.kernel_count; ++k) {
                // Positions are the same in every image.
                if (image_ > 0 && params_.kernels[k].kind == CrfFeatures::kPosition) continue;
                Term<T>& term = terms_[static_cast<std::size_t>(k)];
                build_lattice(params_.kernels[k], term);
                normalise(params_.kernels[k].normalization, term);
            }
            for (set_ = 0; set_ < params_.sets; set_ += together) {
                infer(static_cast<int>(std::min(together, params_.sets - set_)));
            }
        }
    }

  private:
    void set_compat(const CrfKernel<T>& kernel, Term<T>& term) const {
        if (kernel.compat_kind == CrfCompat::kScalar) {
            term.compat.assign(1, kernel.compat[0]);
        } else if (kernel.compat_kind == CrfCompat::kDiagonal) {
            term.compat.assign(static_cast<std::size_t>(padded_), T(0));
            std::copy(kernel.compat, kernel.compat + classes_, term.compat.begin());
        } else {
            term.compat.assign(static_cast<std::size_t>(classes_) * padded_, T(0));
            for (int to = 0; to < classes_; ++to) {
                for (int from = 0; from < classes_; ++from) {
                    term.compat[static_cast<std::size_t>(from * padded_ + to)] =
                        kernel.compat[to * classes_ + from];
                }
            }
        }
    }

    void build_lattice(const CrfKernel<T>& kernel, Term<T>& term) const {
        LatticeBuildParams<T> build;
        build.execution = params_.execution;
        if (kernel.kind == CrfFeatures::kPosition) {
            build.name = "gaussian";
            const PositionFeatures<T> features(params_.height, params_.width, kernel.sxy);
            build.features = &features;
            term.lattice.build(build);
        } else if (kernel.kind == CrfFeatures::kGiven) {
            build.name = "features";
            const ArrayFeatures<T> features("features",
                                            kernel.features + image_ * kernel.dims * points_,
                                            kernel.dims, points_, params_.execution);
            build.features = &features;
            term.lattice.build(build);
        } else if (params_.image_bytes) {
            build_colour(params_.image_bytes, kernel, term, build);
        } else {
            build_colour(params_.image, kernel, term, build);
        }
    }

    template <typename Pixel>
    void build_colour(const Pixel* images, const CrfKernel<T>& kernel, Term<T>& term,
                      LatticeBuildParams<T>& build) const {
        const Pixel* image = images + image_ * 3 * points_;
        const ColourFeatures<T, Pixel> features(image, params_.height, params_.width, kernel.sxy,
                                                kernel.srgb);
        build.name = "bilateral";
        build.features = &features;
        term.lattice.build(build);
        const std::int64_t bad = features.bad();
        if (bad < 0) return;
        refuse("image: expected values in [0,255], got ", static_cast<T>(image[bad]), " in image ",
               image_, ", channel ", bad / points_, ", y ", bad % points_ / params_.width, ", x ",
               bad % params_.width);
    }

    // Runs body(first tile, tile after the last) for every band, bands at once.
    template <typename Body>
    void each_band(std::int64_t bands, Body&& body) const {
        const std::int64_t tiles = (points_ + kTile - 1) / kTile;
        parallel_for(params_.execution, bands, 1, [&](std::int64_t b, std::int64_t) {
            body(b, b * kTilesPerBand, std::min(tiles, (b + 1) * kTilesPerBand));
        });
    }

    // The factors of the normalisation, from filtering ones.
    void normalise(CrfNormalization normalization, Term<T>& term) const {
        term.before = term.after = nullptr;
        if (normalization == CrfNormalization::kNone) return;
        const LatticeView<T> lattice = term.lattice.view();
        term.norm.resize(points_);
        term.values.prepare(lattice, 1);
        const std::vector<T> ones(static_cast<std::size_t>(kTile), T(1));
        each_band(lattice.bands(), [&](std::int64_t, std::int64_t begin, std::int64_t end) {
            for (std::int64_t tile = begin; tile < end; ++tile)
                term.values.splat(tile, ones.data(), nullptr);
        });
        term.values.blur(BlurOrder::kForward, params_.execution);
        const bool symmetric = normalization == CrfNormalization::kSymmetric;
        each_band(lattice.bands(), [&](std::int64_t, std::int64_t begin, std::int64_t end) {
            T filtered[kTile];
            for (std::int64_t tile = begin; tile < end; ++tile) {
                std::fill(filtered, filtered + kTile, T(0));
                term.values.slice(tile, term.values.gain(), nullptr, filtered);
                const std::int64_t count = std::min(kTile, points_ - tile * kTile);
                T* norm = term.norm.data() + tile * kTile;
                for (std::int64_t p = 0; p < count; ++p) {
                    const T mass = filtered[p] + T(1e-20);
                    norm[p] = T(1) / (symmetric ? std::sqrt(mass) : mass);
                }
            }
        });
        if (normalization != CrfNormalization::kAfter) term.before = term.norm.data();
        if (normalization != CrfNormalization::kBefore) term.after = term.norm.data();
    }

    // All mean-field iterations of `sets` unaries of one image, from set_ on.
    void infer(int sets) {
        const int width = sets * padded_;
        for (Term<T>& term : terms_) term.values.prepare(term.lattice.view(), width);
        if (terms_.empty() || params_.iterations == 0) {
            pass(sets, Pass::kOnly);
            return;
        }
        pass(sets, Pass::kFirst);
        for (int i = 1; i <= params_.iterations; ++i) {
            for (Term<T>& term : terms_) term.values.blur(BlurOrder::kForward, params_.execution);
            pass(sets, i < params_.iterations ? Pass::kMiddle : Pass::kLast);
        }
    }

    enum class Pass {
        kFirst,   // unary -> Q, splatted
        kMiddle,  // unary and sliced messages -> Q, splatted
        kLast,    // unary and sliced messages -> Q, the result
        kOnly     // unary -> Q, the result
    };

    // One pass over the pixels. Q is never stored but in the result.
    void pass(int sets, Pass which) {
        const bool has_messages = which == Pass::kMiddle || which == Pass::kLast;
        const bool has_result = which == Pass::kLast || which == Pass::kOnly;
        const int width = sets * padded_;
        const std::int64_t bands = (points_ + kLatticeBandPoints - 1) / kLatticeBandPoints;
        std::vector<std::int64_t> bad(static_cast<std::size_t>(bands), -1);
        each_band(bands, [&](std::int64_t b, std::int64_t begin, std::int64_t end) {
            std::vector<T> rows(static_cast<std::size_t>(kTile * width),
                                -std::numeric_limits<T>::infinity());
            std::vector<T> message;
            for (std::int64_t tile = begin; tile < end; ++tile) {
                const std::int64_t count = std::min(kTile, points_ - tile * kTile);
                load_unary(tile, count, sets, rows.data());
                if (has_messages) {
                    for (int k = 0; k < params_.kernel_count; ++k)
                        add_message(k, tile, count, sets, rows.data(), message);
                }
                const std::int64_t row = softmax(rows.data(), count * sets);
                if (row >= 0 && bad[static_cast<std::size_t>(b)] < 0) {
                    bad[static_cast<std::size_t>(b)] =
                        (set_ + row % sets) * points_ + tile * kTile + row / sets;
                }
                if (has_result) {
                    store(tile, count, sets, rows.data());
                } else {
                    for (Term<T>& term : terms_) term.values.splat(tile, rows.data(), term.before);
                }
            }
        });
        for (const std::int64_t at : bad) {
            if (at >= 0) fail(at, has_messages);
        }
    }

    const T* unary(std::int64_t set) const {
        return params_.unary + (image_ * params_.sets + set) * classes_ * points_;
    }

    // -unary, pixel by pixel; the padding is -infinity.
    void load_unary(std::int64_t tile, std::int64_t count, int sets, T* __restrict__ rows) const {
        const std::int64_t width = sets * padded_;
        for (int s = 0; s < sets; ++s) {
            for (int c = 0; c < padded_; ++c) {
                T* to = rows + s * padded_ + c;
                if (c >= classes_) {
                    for (std::int64_t p = 0; p < count; ++p)
                        to[p * width] = -std::numeric_limits<T>::infinity();
                    continue;
                }
                const T* from = unary(set_ + s) + c * points_ + tile * kTile;
                for (std::int64_t p = 0; p < count; ++p) to[p * width] = -from[p];
            }
        }
    }

    void add_message(int k, std::int64_t tile, std::int64_t count, int sets, T* __restrict__ rows,
                     std::vector<T>& scratch) const {
        const Term<T>& term = terms_[static_cast<std::size_t>(k)];
        const T gain = term.values.gain();
        const CrfCompat kind = params_.kernels[k].compat_kind;
        const T* __restrict__ compat = term.compat.data();
        if (kind == CrfCompat::kScalar) {
            term.values.slice(tile, compat[0] * gain, term.after, rows);
            return;
        }
        scratch.assign(static_cast<std::size_t>(kTile * sets * padded_), T(0));
        term.values.slice(tile, gain, term.after, scratch.data());
        const int padded = padded_;
        for (std::int64_t i = 0; i < count * sets; ++i) {
            const T* __restrict__ message = scratch.data() + i * padded;
            T* __restrict__ energy = rows + i * padded;
            if (kind == CrfCompat::kDiagonal) {
                for (int c = 0; c < padded; ++c) energy[c] -= compat[c] * message[c];
            } else {
                for (int from = 0; from < classes_; ++from) {
                    const T* __restrict__ cost = compat + from * padded;
                    for (int c = 0; c < padded; ++c) energy[c] -= cost[c] * message[from];
                }
            }
        }
    }

    // The first of `count` rows whose softmax is not finite, or -1.
    std::int64_t softmax(T* rows, std::int64_t count) const {
        switch (padded_) {
            case 1:
                return softmax_rows<1>(rows, count);
            case 2:
                return softmax_rows<2>(rows, count);
            case 4:
                return softmax_rows<4>(rows, count);
            case 24:
                return softmax_rows<24>(rows, count);
            default:
                return softmax_rows<0>(rows, count);
        }
    }

    template <int Width>
    std::int64_t softmax_rows(T* rows, std::int64_t count) const {
        const int width = Width > 0 ? Width : padded_;
        std::int64_t bad = -1;
        for (std::int64_t i = 0; i < count; ++i) {
            if (!softmax_row<Width>(rows + i * width, width) && bad < 0) bad = i;
        }
        return bad;
    }

    void store(std::int64_t tile, std::int64_t count, int sets, const T* __restrict__ rows) const {
        const std::int64_t width = sets * padded_;
        const std::int64_t first = tile * kTile;
        for (int s = 0; s < sets; ++s) {
            const std::int64_t map = image_ * params_.sets + set_ + s;
            const T* from = rows + s * padded_;
            if (params_.probs) {
                for (int c = 0; c < classes_; ++c) {
                    T* to = params_.probs + (map * classes_ + c) * points_ + first;
                    for (std::int64_t p = 0; p < count; ++p) to[p] = from[p * width + c];
                }
            }
            if (params_.labels) {
                for (std::int64_t p = 0; p < count; ++p) {
                    const T* row = from + p * width;
                    const auto label =
                        std::max_element(row, row + classes_) - row;  // the first of equals
                    store_label(map * points_ + first + p, label);
                }
            }
        }
    }

    void store_label(std::int64_t at, std::int64_t label) const {
        if (params_.label_bytes == 1) {
            static_cast<std::uint8_t*>(params_.labels)[at] = static_cast<std::uint8_t>(label);
        } else if (params_.label_bytes == 2) {
            static_cast<std::int16_t*>(params_.labels)[at] = static_cast<std::int16_t>(label);
        } else {
            static_cast<std::int32_t*>(params_.labels)[at] = static_cast<std::int32_t>(label);
        }
    }

    // at: unary of this image and pixel where softmax was not finite.
    [[noreturn]] void fail(std::int64_t at, bool has_messages) const {
        const std::int64_t set = at / points_;
        const std::int64_t p = at % points_;
        const std::string where = " in image " + std::to_string(image_) + ", unary " +
                                  std::to_string(set) + ", y " + std::to_string(p / params_.width) +
                                  ", x " + std::to_string(p % params_.width);
        if (has_messages) {
            refuse("compat: expected weights that keep energies finite, got an overflow", where);
        }
        for (int c = 0; c < classes_; ++c) {
            const T value = unary(set)[c * points_ + p];
            // +infinity, a probability of zero, is legal unless the whole pixel is that.
            if (value > -std::numeric_limits<T>::infinity()) continue;
            refuse("unary: expected energies that are finite or +inf, got ", value, " for class ",
                   c, where);
        }
        refuse("unary: expected a finite energy for at least one class, got +inf for all classes",
               where);
    }

    const CrfParams<T>& params_;
    std::int64_t points_;
    int classes_;
    int padded_;  // classes and padding in a row
    std::vector<Term<T>> terms_;
    std::int64_t image_ = 0;
    std::int64_t set_ = 0;
};

}  // namespace

template <typename T>
void crf(const CrfParams<T>& params) {
    MeanField<T>(params).run();
}

template void crf(const CrfParams<float>&);
template void crf(const CrfParams<double>&);

}  // namespace wsss_fast
