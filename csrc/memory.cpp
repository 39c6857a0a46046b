#include "memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace erprm {
namespace {

#ifdef __linux__

constexpr std::size_t page = std::size_t{1} << 21;

bool is_mapped(std::size_t size) { return size >= page / 2; }

std::size_t whole_pages(std::size_t size) { return (size + page - 1) / page * page; }

// An unused range of addresses that begins with a large page; nullptr when there is none.
void* reserve_addresses(std::size_t size) {
    void* const found = mmap(nullptr, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) {
        return nullptr;
    }
    char* const begin = static_cast<char*>(found);
    const std::size_t before = (page - reinterpret_cast<std::uintptr_t>(begin) % page) % page;
    if (before != 0) {
        munmap(begin, before);
    }
    munmap(begin + before + size, page - before);
    return begin + before;
}

void* map_block(void* block, std::size_t old_size, std::size_t size) {
    const std::size_t whole = whole_pages(size);
    void* const place = reserve_addresses(whole);
    if (place == nullptr) {
        return nullptr;
    }
    void* mapped = MAP_FAILED;
    if (is_mapped(old_size)) {
        mapped = mremap(block, whole_pages(old_size), whole, MREMAP_MAYMOVE | MREMAP_FIXED, place);
    } else {
        mapped = mmap(place, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    if (mapped == MAP_FAILED) {
        munmap(place, whole);
        return nullptr;
    }
    madvise(mapped, whole, MADV_HUGEPAGE);  // a wish: small pages do as well
    return mapped;
}

#else

bool is_mapped(std::size_t) { return false; }
std::size_t whole_pages(std::size_t size) { return size; }
void* map_block(void*, std::size_t, std::size_t) { return nullptr; }
int munmap(void*, std::size_t) { return 0; }

#endif

}  // namespace

void* grow_block(void* block, std::size_t old_size, std::size_t size) {
    if (is_mapped(size)) {
        if (is_mapped(old_size) && whole_pages(old_size) == whole_pages(size)) {
            return block;
        }
        void* const larger = map_block(block, old_size, size);
        if (larger != nullptr && old_size != 0 && !is_mapped(old_size)) {
            std::memcpy(larger, block, old_size);
            std::free(block);
        }
        return larger;
    }
    if (old_size == 0) {
        return std::calloc(size, 1);
    }
    void* const larger = std::realloc(block, size);
    if (larger != nullptr) {
        std::memset(static_cast<char*>(larger) + old_size, 0, size - old_size);
    }
    return larger;
}

void free_block(void* block, std::size_t size) {
    if (is_mapped(size)) {
        munmap(block, whole_pages(size));
    } else {
        std::free(block);
    }
}

}  // namespace erprm
