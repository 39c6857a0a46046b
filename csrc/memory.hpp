// Blocks of memory that grow, with their contents, and begin as zeros.
//
// From a megabyte on, a block is a mapping of its own at large pages where the system has them (Linux: transparent huge
// pages). Fetching memory in large pages takes a quarter of the time, finding one in the page tables is rarer, and growing
// moves entries of these tables instead of bytes. Below, blocks are the allocator's.
#pragma once

#include <cstddef>

namespace erprm {

// Makes a block of `size` bytes of one of `old_size`, or anew of nullptr and 0; what is new is 0. The block was given by this
// function; nullptr is returned, and it stays as it was, when there is no memory.
void* grow_block(void* block, std::size_t old_size, std::size_t size);

void free_block(void* block, std::size_t size);

}  // namespace erprm
