#pragma once

#include <atomic>
#include <cstdint>

#include "ops/lattice.h"

// Where the pixels of an image lie in the feature spaces of a dense CRF.
namespace wsss_fast {

// An image's pixels as points.
inline PointOrder pixel_order(std::int64_t height, std::int64_t width) {
    constexpr std::int64_t kStrip = 64;  // columns that are gone through together
    return PointOrder(height, width, kStrip);
}

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
        runs(begin, count, [&](std::int64_t to, std::int64_t at, std::int64_t n) {
            const T y = static_cast<T>(at / width_) / sy_;
            const auto x = static_cast<std::int32_t>(at % width_);
            for (std::int32_t p = 0; p < n; ++p) {
                out[to + p] = static_cast<T>(x + p) / sx_;
                out[kLatticeTile + to + p] = y;
            }
        });
    }

  protected:
    // run(place in the tile, first pixel, how many)
    template <typename Run>
    void runs(std::int64_t begin, std::int64_t count, Run&& run) const {
        pixel_order(height_, width_)
            .runs(begin, begin + count, [&](std::int64_t first, std::int64_t at, std::int64_t n) {
                run(first - begin, at, n);
            });
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
        Base::runs(begin, count, [&](std::int64_t first, std::int64_t at, std::int64_t n) {
            for (int i = 0; i < 3; ++i) {
                const Pixel* from = image_ + i * Base::points() + at;
                T* to = out + (2 + i) * kLatticeTile + first;
                bool good = true;
                for (std::int64_t p = 0; p < n; ++p) {
                    // NaN too becomes 0 here: the lattice must never see what range() did not
                    // promise.
                    const bool in_range = from[p] >= Pixel(0) && from[p] <= Pixel(255);
                    to[p] = in_range ? static_cast<T>(from[p]) / srgb_[i] : T(0);
                    good &= in_range;
                }
                if (!good) bad_.store(true);
            }
        });
    }
    // Flat index of the first value outside [0, 255] if one was read, or -1.
    std::int64_t bad() const {
        if (!bad_.load()) return -1;
        std::int64_t at = 0;
        while (image_[at] >= Pixel(0) && image_[at] <= Pixel(255)) ++at;
        return at;
    }

  private:
    const Pixel* image_;
    const T* srgb_;
    mutable std::atomic<bool> bad_{false};
};

}  // namespace wsss_fast
