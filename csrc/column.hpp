// A growing array that hands out snapshots without copying.
//
// A snapshot never changes and never dangles: it shares the buffer, and the column copies the buffer once, before its
// next write, if a snapshot of it is still alive. So a snapshot costs O(1) when taken and at most one copy later.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "growth.hpp"

namespace erprm {

template <class T>
class Column {
    struct Buffer {
        Array<T> values;
        std::atomic<int> readers{0};
    };

public:
    class Snapshot {
    public:
        explicit Snapshot(std::shared_ptr<Buffer> buffer) : buffer_(std::move(buffer)) {
            buffer_->readers.fetch_add(1, std::memory_order_relaxed);
        }
        Snapshot(Snapshot&& other) noexcept = default;
        Snapshot(const Snapshot&) = delete;
        Snapshot& operator=(const Snapshot&) = delete;
        Snapshot& operator=(Snapshot&&) = delete;
        ~Snapshot() {
            if (buffer_) {  // release: what this reader read happens before the column's next write
                buffer_->readers.fetch_sub(1, std::memory_order_release);
            }
        }
        const T* data() const { return buffer_->values.data(); }
        std::size_t size() const { return buffer_->values.size(); }

    private:
        std::shared_ptr<Buffer> buffer_;
    };

    // Needs the owner's lock, as every other member does; the snapshot itself may be read and dropped on any thread.
    Snapshot snapshot() const { return Snapshot(buffer_); }

    // The values, to be written: call once per operation and keep the reference only while the owner's lock is held.
    Array<T>& writable() {
        if (buffer_->readers.load(std::memory_order_acquire) != 0) {
            auto copy = std::make_shared<Buffer>();
            copy->values.assign(buffer_->values);
            buffer_ = std::move(copy);
        }
        return buffer_->values;
    }

    const Array<T>& values() const { return buffer_->values; }

private:
    std::shared_ptr<Buffer> buffer_ = std::make_shared<Buffer>();
};

}  // namespace erprm
