#include "ops/crf.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "common/refuse.h"
#include "ops/cpu/crf_features.h"
#include "ops/cpu/crf_isa.h"
#include "ops/cpu/crf_scratch.h"
#include "ops/cpu/lattice_values.h"
#include "ops/lattice.h"

namespace wsss_fast {
namespace {

constexpr std::int64_t kTile = kLatticeTile;
constexpr std::int64_t kChannelsAtOnce = 32;  // unaries of one image go through together up to that

template <typename T>
class MeanField {
    using Slice = typename LatticeValues<T>::Slice;

  public:
    MeanField(const CrfParams<T>& params, CrfScratch<T>& scratch)
        : params_(params),
          loops_(crf_loops<T>()),
          lattice_loops_(lattice_loops<T>()),
          order_(pixel_order(params.height, params.width)),
          points_(order_.points()),
          classes_(static_cast<int>(params.classes)),
          terms_(scratch.terms),
          energies_(scratch.energies),
          total_(scratch.total) {
        terms_.resize(static_cast<std::size_t>(params.kernel_count));
    }

    void run() {
        if (points_ == 0 || classes_ == 0 || params_.sets == 0) return;
        if (params_.probs) {
            advise_huge_pages(
                params_.probs,
                static_cast<std::size_t>(params_.images * params_.sets * classes_ * points_) *
                    sizeof(T));
        }
        const std::int64_t together =
            std::min(params_.sets, std::max<std::int64_t>(1, kChannelsAtOnce / classes_));
        for (image_ = 0; image_ < params_.images; ++image_) {
            // Without an iteration too: a bad image is an error then as well. The small lattices of
            // positions last: what the others need while they are built is then not on top of
            // these.
            for (int k = 0; k < params_.kernel_count; ++k) {
                if (params_.kernels[k].kind != CrfFeatures::kPosition) prepare_term(k);
            }
            for (int k = 0; k < params_.kernel_count; ++k) {
                // Positions are the same in every image.
                if (params_.kernels[k].kind == CrfFeatures::kPosition && image_ == 0)
                    prepare_term(k);
            }
            has_total_ = false;
            for (set_ = 0; set_ < params_.sets; set_ += together) {
                sets_ = static_cast<int>(std::min(together, params_.sets - set_));
                choose_channels();
                infer();
            }
        }
    }

  private:
    // The probabilities of a pixel sum to one, so the messages of all classes sum to the filter of
    // ones, once for all iterations, and that of the last class is what the others leave of it. It
    // need not be sent where nothing but Potts terms wants messages, and is not where the rows
    // become shorter by it: 20 values in place of 21 and 3 for padding, 2 in place of 3 and 1.
    void choose_channels() {
        sent_ = classes_;
        blocks_ = channel_blocks(sets_ * classes_);
        const bool only_potts = std::all_of(
            params_.kernels, params_.kernels + params_.kernel_count,
            [](const CrfKernel<T>& kernel) { return kernel.compat_kind == CrfCompat::kScalar; });
        if (!only_potts || classes_ < 3) return;
        const std::vector<ChannelBlock> fewer = channel_blocks(sets_ * (classes_ - 1));
        if (padded_channels(fewer) == padded_channels(blocks_)) return;
        sent_ = classes_ - 1;
        blocks_ = fewer;
    }

    void prepare_term(int k) {
        CrfTerm<T>& term = terms_[static_cast<std::size_t>(k)];
        build_lattice(params_.kernels[k], term);
        normalise(params_.kernels[k].normalization, term);
    }

    void build_lattice(const CrfKernel<T>& kernel, CrfTerm<T>& term) const {
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
                                            kernel.dims, order_, params_.execution);
            build.features = &features;
            term.lattice.build(build);
        } else if (params_.image_bytes) {
            build_colour(params_.image_bytes, kernel, term, build);
        } else {
            build_colour(params_.image, kernel, term, build);
        }
    }

    template <typename Pixel>
    void build_colour(const Pixel* images, const CrfKernel<T>& kernel, CrfTerm<T>& term,
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

    // The factors of the normalisation, from filtering ones.
    void normalise(CrfNormalization normalization, CrfTerm<T>& term) const {
        term.before = term.after = nullptr;
        if (normalization == CrfNormalization::kNone) return;
        LatticeValues<T>& values = term.values;
        filter_ones(term);
        const bool symmetric = normalization == CrfNormalization::kSymmetric;
        if (!symmetric) term.norm.resize(points_);
        for_each_band(params_.execution, points_, [&](const LatticeBand& band) {
            for (std::int64_t tile = band.begin; tile < band.end; ++tile) {
                T norm[kTile];
                values.slice(tile, values.gain(), nullptr, Slice::kSet, norm);
                for (std::int64_t p = 0; p < tile_points(tile); ++p) {
                    const T mass = norm[p] + T(1e-20);
                    norm[p] = T(1) / (symmetric ? std::sqrt(mass) : mass);
                }
                if (symmetric) {
                    // The weights serve both splats and slices.
                    term.lattice.scale_weights(tile, norm);
                } else {
                    std::copy(norm, norm + tile_points(tile), term.norm.data() + tile * kTile);
                }
            }
        });
        if (normalization == CrfNormalization::kBefore) term.before = term.norm.data();
        if (normalization == CrfNormalization::kAfter) term.after = term.norm.data();
    }

    // Leaves the filter of ones to be sliced.
    void filter_ones(CrfTerm<T>& term) const {
        term.values.prepare(term.lattice.view(), channel_blocks(1));
        T ones[kTile];
        std::fill(ones, ones + kTile, T(1));
        for_each_band(params_.execution, points_, [&](const LatticeBand& band) {
            for (std::int64_t tile = band.begin; tile < band.end; ++tile)
                term.values.splat(tile, ones, term.before);
        });
        term.values.blur(BlurOrder::kForward, params_.execution);
    }

    // What the messages of all classes sum to at each point.
    void sum_messages() {
        has_total_ = true;
        total_.resize(lattice_tiles(points_) * kTile);
        std::fill(total_.data(), total_.data() + total_.size(), T(0));
        for (int k = 0; k < params_.kernel_count; ++k) {
            CrfTerm<T>& term = terms_[static_cast<std::size_t>(k)];
            filter_ones(term);
            const T factor = params_.kernels[k].compat[0] * term.values.gain();
            for_each_band(params_.execution, points_, [&](const LatticeBand& band) {
                for (std::int64_t tile = band.begin; tile < band.end; ++tile) {
                    term.values.slice(tile, factor, term.after, Slice::kAdd,
                                      total_.data() + tile * kTile);
                }
            });
        }
    }

    // All mean-field iterations of sets_ unaries of one image, from set_ on.
    void infer() {
        keep_energies();
        if (terms_.empty() || params_.iterations == 0) {
            pass(Pass::kOnly);
            return;
        }
        if (sent_ < classes_ && !has_total_) sum_messages();
        for (CrfTerm<T>& term : terms_) term.values.prepare(term.lattice.view(), blocks_);
        pass(Pass::kFirst);
        for (int i = 1; i <= params_.iterations; ++i) {
            for (CrfTerm<T>& term : terms_) {
                term.values.blur(BlurOrder::kForward, params_.execution);
            }
            pass(i < params_.iterations ? Pass::kMiddle : Pass::kLast);
        }
    }

    enum class Pass {
        kFirst,   // unary -> Q, splatted
        kMiddle,  // unary and sliced messages -> Q, splatted
        kLast,    // unary and sliced messages -> Q, the result
        kOnly     // unary -> Q, the result
    };

    // One pass over the pixels. Q is stored for the pixels of a band only: the rows of a band are
    // its own, so once all its messages are sliced, its Q is splatted into the same rows.
    void pass(Pass which) {
        const bool has_messages = which == Pass::kMiddle || which == Pass::kLast;
        const bool has_result = which == Pass::kLast || which == Pass::kOnly;
        std::vector<std::int64_t> bad(static_cast<std::size_t>(lattice_bands(points_)), -1);
        for_each_band(params_.execution, points_, [&](const LatticeBand& band) {
            Workspace work(sets_ * classes_, padded_channels(blocks_));
            Buffer<T> q(has_result ? 0 : (band.end - band.begin) * work.rows_size());
            for (std::int64_t tile = band.begin; tile < band.end; ++tile) {
                recall_energies(tile, work);
                if (has_messages) add_messages(tile, work);
                for (int s = 0; s < sets_; ++s) {
                    if (loops_.softmax(work.planes(s * classes_), classes_, tile_points(tile)))
                        continue;
                    std::int64_t& first_bad = bad[static_cast<std::size_t>(band.index)];
                    if (first_bad < 0) first_bad = tile;
                }
                if (has_result) {
                    store(tile, work);
                } else {
                    to_rows(work, q.data() + (tile - band.begin) * work.rows_size());
                }
            }
            if (has_result) return;
            for (CrfTerm<T>& term : terms_) {
                for (std::int64_t tile = band.begin; tile < band.end; ++tile) {
                    term.values.splat(tile, q.data() + (tile - band.begin) * work.rows_size(),
                                      term.before);
                }
            }
        });
        for (const std::int64_t tile : bad) {
            if (tile >= 0) fail(tile);
        }
    }

    // What a thread needs for a tile: the energies of all classes, which become Q, as planes, and
    // the messages of those that are sent, as planes and as rows. What pads the rows is zero and
    // stays so.
    class Workspace {
      public:
        Workspace(int channels, int padded)
            : messages_(std::max(channels, padded) * kTile),
              rows_size_(padded * kTile),
              memory_(static_cast<std::size_t>(messages_ + 2 * rows_size_), T(0)) {}

        T* planes(int channel = 0) { return memory_.data() + channel * kTile; }
        T* messages(int channel = 0) { return planes(channel) + messages_; }
        T* rows() { return messages() + rows_size_; }
        std::int64_t rows_size() const { return rows_size_; }

      private:
        std::int64_t messages_;
        std::int64_t rows_size_;
        std::vector<T> memory_;
    };

    // run(place in the tile, first pixel, how many)
    template <typename Run>
    void runs(std::int64_t tile, Run&& run) const {
        const std::int64_t begin = tile * kTile;
        order_.runs(begin, std::min(points_, begin + kTile),
                    [&](std::int64_t first, std::int64_t at, std::int64_t count) {
                        run(first - begin, at, count);
                    });
    }

    const T* unary(std::int64_t set) const {
        return params_.unary + (image_ * params_.sets + set) * classes_ * points_;
    }

    // -unary, tile after tile in memory for all passes. In the unary itself the pieces of a tile
    // are short and each on another page; it is read row after row, once.
    void keep_energies() {
        energies_.resize(sets_ * classes_ * points_);
        constexpr std::int64_t kRows = 8;
        parallel_for(
            params_.execution, order_.rows(), kRows, [&](std::int64_t y, std::int64_t end) {
                for (; y < end; ++y) {
                    order_.row_runs(y, [&](std::int64_t first, std::int64_t at,
                                           std::int64_t count) { keep_run(first, at, count); });
                }
            });
    }

    void keep_run(std::int64_t first, std::int64_t at, std::int64_t count) {
        while (count > 0) {
            const std::int64_t tile = first / kTile;
            const std::int64_t inside = first % kTile;
            const std::int64_t n = std::min(count, kTile - inside);
            T* to = energies(tile) + inside;
            for (int s = 0; s < sets_; ++s) {
                for (int c = 0; c < classes_; ++c, to += tile_points(tile)) {
                    const T* from = unary(set_ + s) + c * points_ + at;
                    for (std::int64_t p = 0; p < n; ++p) to[p] = -from[p];
                }
            }
            first += n;
            at += n;
            count -= n;
        }
    }

    void recall_energies(std::int64_t tile, Workspace& work) {
        const T* from = energies(tile);
        const std::int64_t count = tile_points(tile);
        for (int c = 0; c < sets_ * classes_; ++c, from += count)
            std::copy(from, from + count, work.planes(c));
    }

    T* energies(std::int64_t tile) { return energies_.data() + tile * kTile * sets_ * classes_; }

    std::int64_t tile_points(std::int64_t tile) const {
        return std::min(kTile, points_ - tile * kTile);
    }

    void add_messages(std::int64_t tile, Workspace& work) const {
        // Potts terms are summed up before they are turned to planes.
        Slice how = Slice::kSet;
        for (int k = 0; k < params_.kernel_count; ++k) {
            if (params_.kernels[k].compat_kind != CrfCompat::kScalar) continue;
            slice(k, tile, params_.kernels[k].compat[0], how, work);
            how = Slice::kAdd;
        }
        if (how == Slice::kAdd && sent_ == classes_) to_planes(work, true, work.planes());
        if (how == Slice::kAdd && sent_ < classes_) {
            to_planes(work, false, work.messages());
            for (int s = 0; s < sets_; ++s) {
                loops_.apply_but_one(work.messages(s * sent_), total_.data() + tile * kTile,
                                     classes_, work.planes(s * classes_));
            }
        }
        for (int k = 0; k < params_.kernel_count; ++k) {
            const CrfKernel<T>& kernel = params_.kernels[k];
            if (kernel.compat_kind == CrfCompat::kScalar) continue;
            slice(k, tile, T(1), Slice::kSet, work);
            to_planes(work, false, work.messages());
            const auto apply = kernel.compat_kind == CrfCompat::kDiagonal ? loops_.apply_diagonal
                                                                          : loops_.apply_matrix;
            for (int s = 0; s < sets_; ++s) {
                apply(work.messages(s * classes_), kernel.compat, classes_,
                      work.planes(s * classes_));
            }
        }
    }

    // Sets planes to the sliced rows, or adds those.
    void to_planes(Workspace& work, bool add, T* planes) const {
        for (const ChannelBlock& block : blocks_) {
            lattice_loops_.to_planes(work.rows() + block.first * kTile, block.width, add,
                                     planes + block.first * kTile);
        }
    }

    // Q of the classes that are sent, to be splatted.
    void to_rows(Workspace& work, T* rows) const {
        T* planes = work.planes();
        if (sets_ > 1 && sent_ < classes_) {
            planes = work.messages();
            for (int s = 0; s < sets_; ++s) {
                const T* q = work.planes(s * classes_);
                std::copy(q, q + sent_ * kTile, work.messages(s * sent_));
            }
        }
        for (const ChannelBlock& block : blocks_) {
            lattice_loops_.to_rows(planes + block.first * kTile, block.width,
                                   rows + block.first * kTile);
        }
    }

    void slice(int k, std::int64_t tile, T factor, Slice how, Workspace& work) const {
        const CrfTerm<T>& term = terms_[static_cast<std::size_t>(k)];
        term.values.slice(tile, factor * term.values.gain(), term.after, how, work.rows());
    }

    void store(std::int64_t tile, Workspace& work) const {
        for (int s = 0; s < sets_; ++s) {
            const T* planes = work.planes(s * classes_);
            const std::int64_t map = image_ * params_.sets + set_ + s;
            if (params_.probs) {
                runs(tile, [&](std::int64_t from, std::int64_t at, std::int64_t count) {
                    for (int c = 0; c < classes_; ++c) {
                        const T* q = planes + c * kTile + from;
                        std::copy(q, q + count,
                                  params_.probs + (map * classes_ + c) * points_ + at);
                    }
                });
            }
            if (params_.labels) {
                std::int32_t best[kTile];
                loops_.argmax(planes, classes_, best);
                runs(tile, [&](std::int64_t from, std::int64_t at, std::int64_t count) {
                    store_labels(best + from, map * points_ + at, count);
                });
            }
        }
    }

    void store_labels(const std::int32_t* from, std::int64_t at, std::int64_t count) const {
        const auto put = [&](auto* to) {
            using Label = std::remove_pointer_t<decltype(to)>;
            for (std::int64_t p = 0; p < count; ++p) to[at + p] = static_cast<Label>(from[p]);
        };
        if (params_.label_bytes == 1) {
            put(static_cast<std::uint8_t*>(params_.labels));
        } else if (params_.label_bytes == 2) {
            put(static_cast<std::int16_t*>(params_.labels));
        } else {
            put(static_cast<std::int32_t*>(params_.labels));
        }
    }

    // tile: the first of this image in which a softmax was not finite.
    [[noreturn]] void fail(std::int64_t tile) const {
        constexpr T kInfinity = std::numeric_limits<T>::infinity();
        for (int s = 0; s < sets_; ++s) {
            for (std::int64_t p = tile * kTile; p < std::min(points_, (tile + 1) * kTile); ++p) {
                const std::int64_t at = order_.at(p);
                bool possible = false;
                for (int c = 0; c < classes_; ++c) {
                    const T value = unary(set_ + s)[c * points_ + at];
                    possible |= value < kInfinity;
                    // +infinity, a probability of zero, is legal unless the whole pixel is that.
                    if (value > -kInfinity) continue;
                    refuse("unary: expected energies that are finite or +inf, got ", value,
                           " for class ", c, where(s, at));
                }
                if (!possible) {
                    refuse(
                        "unary: expected a finite energy for at least one class, got +inf for all "
                        "classes",
                        where(s, at));
                }
            }
        }
        refuse("compat: expected weights that keep energies finite, got an overflow",
               where(0, order_.at(tile * kTile)));
    }

    std::string where(int s, std::int64_t at) const {
        return " in image " + std::to_string(image_) + ", unary " + std::to_string(set_ + s) +
               ", y " + std::to_string(at / params_.width) + ", x " +
               std::to_string(at % params_.width);
    }

    const CrfParams<T>& params_;
    const CrfLoops<T>& loops_;
    const LatticeLoops<T>& lattice_loops_;
    PointOrder order_;
    std::int64_t points_;
    int classes_;
    std::vector<CrfTerm<T>>& terms_;
    Buffer<T>& energies_;
    Buffer<T>& total_;
    std::int64_t image_ = 0;
    std::int64_t set_ = 0;  // the first of the unaries that go through together
    int sets_ = 0;          // how many they are
    int sent_ = 0;          // how many of their classes go through the lattices
    bool has_total_ = false;
    std::vector<ChannelBlock> blocks_;  // that hold their classes
};

}  // namespace

template <typename T>
void crf(const CrfParams<T>& params) {
    KeptCrfScratch<T> scratch;
    MeanField<T>(params, *scratch).run();
}

template void crf(const CrfParams<float>&);
template void crf(const CrfParams<double>&);

}  // namespace wsss_fast
