// A growing array of plain values.
//
// It differs from std::vector in that appending never allocates, so that it cannot fail half-way through a change of
// several arrays (`reserve` first), and in how its memory grows (memory.hpp).
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "memory.hpp"

namespace erprm {

// T() has to be all zeros.
template <class T>
class Array {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);

public:
    Array() = default;
    explicit Array(std::size_t zeros) {
        reserve(zeros);
        extend(zeros);
    }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    ~Array() { free_block(values_, capacity_ * sizeof(T)); }

    // Room for `size` values in all. What is not used yet costs address space and no memory, once it is many pages.
    void reserve(std::size_t size) {
        if (size <= capacity_) {
            return;
        }
        void* const larger = grow_block(values_, capacity_ * sizeof(T), size * sizeof(T));
        if (larger == nullptr) {
            throw std::bad_alloc();
        }
        values_ = static_cast<T*>(larger);
        capacity_ = size;
    }

    // Room for so many values more; at least doubles what there is when that does not suffice.
    void make_room(std::size_t more) {
        if (size_ + more > capacity_) {
            reserve(std::max({std::size_t{64}, 2 * capacity_, size_ + more}));
        }
    }

    void append(T value) { values_[size_++] = value; }
    void extend(std::size_t size) { size_ = size; }  // what is new is T()

    void assign(const Array& other) {
        reserve(other.capacity_);
        std::copy_n(other.values_, other.size_, values_);
        size_ = other.size_;
    }

    T& operator[](std::size_t at) { return values_[at]; }
    const T& operator[](std::size_t at) const { return values_[at]; }
    T* data() { return values_; }
    const T* data() const { return values_; }
    std::size_t size() const { return size_; }
    std::int64_t bytes() const { return static_cast<std::int64_t>(size_ * sizeof(T)); }

private:
    T* values_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

template <class T>
std::int64_t bytes_of(const std::vector<T>& values) {
    return static_cast<std::int64_t>(values.capacity() * sizeof(T));
}

}  // namespace erprm
