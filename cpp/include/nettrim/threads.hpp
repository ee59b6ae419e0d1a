// Whether this process may have more threads than the one that calls.
#pragma once

namespace nettrim {

// False in a forked child. GNU's OpenMP keeps its threads for the next parallel region; the child
// inherits the list of them and none of the threads, and would wait for them for ever.
bool may_start_threads();

// Never again in this process: for a child that was forked before this library was loaded.
void work_alone();

}  // namespace nettrim
