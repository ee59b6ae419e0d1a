avx2: bool
avx512: bool
