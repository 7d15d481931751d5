/* The commands of the program, one file each (command_*.c), and what they share of the command line. */
#ifndef WALIGN_CORE_COMMANDS_H
#define WALIGN_CORE_COMMANDS_H

#include "setup.h"

/* A command's own words on the command line; see wa_commands_parse. */
struct wa_command_line {
    struct wa_setup_request setup;
    const char *out, *profile, *devices, *dir;
    bool resume, quiet, json, list;
    bool operations, without_batch_norm; /* of bench */
    bool thorough;                       /* of tune */
    int64_t steps;
    int64_t jobs; /* 0: not given */
    size_t positional_count;
    const char **positional;
};

/* Runs one command; prints its results on stdout. */
typedef wa_status wa_command_run(const struct wa_command_line *line, struct wa_error *err);

wa_command_run wa_command_sweep;
wa_command_run wa_command_train;
wa_command_run wa_command_bench;
wa_command_run wa_command_tune;
wa_command_run wa_command_data;
wa_command_run wa_command_devices;
wa_command_run wa_command_plugins;
wa_command_run wa_command_score;

#endif
