/* An optimizer's step. `update_parameter`, made of its statement, and UPDATE_SCALARS and UPDATE_VALUES, the declarations
 * and the values of its scalars, stand before this file (core/optimizer_host.c).
 */

/* Parameters first to first + count - 1, each work-item `chunk` of them side by side; on GPUs a chunk is one. Nothing
 * changes once a loss was not finite (step.cl, output_error). */
__kernel void update(__global float *restrict weights, __global const float *restrict gradients,
                     __global float *restrict state, __global const int *restrict halted, int first,
                     int count, int chunk, int state_stride UPDATE_SCALARS)
{
    if (halted[0]) {
        return;
    }
    const int begin = first + (int)get_global_id(0) * chunk;
    const int end = min(begin + chunk, first + count);
    for (int i = begin; i < end; i++) {
        update_parameter(weights, state, state_stride, i, gradients[i] UPDATE_VALUES);
    }
}
