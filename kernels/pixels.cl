/* Pixels as floats: shared by cpu_load.cl and gpu_load.cl, which give the same bits.
 *
 * float32's v / 255 of a byte, on every device, where a division may be off in the last bits: a quotient that is nearly
 * right, and what it left over. TYPE is float or a vector of floats.
 */
#define DEFINE_PIXEL(NAME, TYPE)                                                                             \
    inline __attribute__((always_inline)) TYPE NAME(TYPE value)                                              \
    {                                                                                                        \
        const TYPE inverse = 1.0f / 255.0f, quotient = value * inverse;                                      \
        return fma(fma(-quotient, (TYPE)255.0f, value), inverse, quotient);                                  \
    }
