/* walign: the command line. Reads options, runs one command, prints its error. */
#define _GNU_SOURCE /* getopt_long */
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "log.h"
#include "version.h"

enum option_id {
    OPTION_SET = 256,
    OPTION_DEVICE,
    OPTION_OUT,
    OPTION_RESUME,
    OPTION_QUIET,
    OPTION_JSON,
    OPTION_STEPS,
    OPTION_PROFILE,
    OPTION_PATHS_FROM,
    OPTION_DEVICES,
    OPTION_JOBS,
    OPTION_LIST,
    OPTION_OPERATIONS,
    OPTION_WITHOUT_BATCH_NORM,
    OPTION_THOROUGH,
    OPTION_DIR,
    OPTION_PLUGIN_PATH,
    OPTION_HELP,
    OPTION_VERSION
};

struct command {
    const char *name, *arguments, *summary, *help;
    size_t min_positional, max_positional;
    const int *options; /* beside those that every command has; ends with 0 */
    wa_command_run *run;
};

static const int train_options[] = {OPTION_SET, OPTION_DEVICE, OPTION_OUT, OPTION_RESUME, OPTION_QUIET,
                                    OPTION_PATHS_FROM, 0};
static const int sweep_options[] = {OPTION_SET, OPTION_DEVICES, OPTION_JOBS, OPTION_OUT, OPTION_RESUME,
                                    OPTION_LIST, 0};
static const int bench_options[] = {OPTION_SET, OPTION_DEVICE, OPTION_STEPS, OPTION_OPERATIONS,
                                    OPTION_WITHOUT_BATCH_NORM, OPTION_PROFILE, OPTION_JSON, 0};
static const int tune_options[] = {OPTION_SET, OPTION_DEVICE, OPTION_THOROUGH, OPTION_JSON, 0};
static const int score_options[] = {OPTION_SET, OPTION_OUT, OPTION_RESUME, OPTION_QUIET, 0};
static const int data_options[] = {OPTION_DIR, 0};
static const int list_options[] = {OPTION_JSON, 0};

static const struct command commands[] = {
    {"train", "CONFIG [--set path=value]... [--device SEL] [--out DIR] [--resume] [--quiet]",
     "train a network as a JSON config says",
     "  --set path=value  change a value of the config, e.g. --set rule.plugin=fa\n"
     "  --device SEL      index of `walign devices`, or part of a device's or platform's name\n"
     "  --out DIR         run directory (default runs/<config name>[-<what --set varies>])\n"
     "  --resume          go on from the last checkpoint in the run directory\n"
     "  --quiet           no progress\n"
     "  --paths-from DIR  relative paths in the config count from DIR, not from its folder\n",
     1, 1, train_options, wa_command_train},
    {"sweep",
     "CONFIG [--set path=value]... [--devices SEL,...] [--jobs N] [--out DIR] [--resume] [--list]",
     "train all networks of a sweep, several at once",
     "  --set path=value  change a value of all runs; on a path of the grid: replace that axis\n"
     "  --devices SEL,... devices to use, each as for `train --device` (default: one, the best)\n"
     "  --jobs N          runs at once on each device (default: what fits)\n"
     "  --out DIR         folder of the runs (default runs/<config name>[-<what --set varies>])\n"
     "  --resume          run only what is missing or unfinished\n"
     "  --list            print the names of the runs and what they vary, run nothing\n",
     1, 1, sweep_options, wa_command_sweep},
    {"bench",
     "CONFIG [--set path=value]... [--steps N] [--device SEL] [--operations] "
     "[--without-batch-norm] [--profile FILE] [--json]",
     "time the steps that `train` would run",
     "  --set path=value  change a value of the config\n"
     "  --steps N         steps to time (default 30)\n"
     "  --device SEL      index of `walign devices`, or part of a device's or platform's name\n"
     "  --operations      print a table of what each operation of a step takes, too\n"
     "  --without-batch-norm\n"
     "                    also time the same steps with batch norm and ReLU left out\n"
     "  --profile FILE    write a Chrome trace of a few steps (chrome://tracing, Perfetto)\n"
     "  --json            print one JSON object, operations included\n",
     1, 1, bench_options, wa_command_bench},
    {"tune", "[CONFIG...] [--set path=value]... [--device SEL] [--thorough] [--json]",
     "find the fastest algorithms for the layers of configs on a device",
     "  CONFIG            its layers are measured, with its size of batch (default: the networks\n"
     "                    of the published experiments, 8, 32 and 64 wide)\n"
     "  --set path=value  change a value of all configs, e.g. --set architecture.width=64\n"
     "  --device SEL      index of `walign devices`, or part of a device's or platform's name\n"
     "  --thorough        measure the blocking of direct algorithms, too, and CLBlast with several\n"
     "                    sets of parameters, which compiles long at first\n"
     "  --json            print one JSON object\n"
     "Runs use what was found where their config says \"kernels\": {\"tuning\": \"auto\"}.\n",
     0, SIZE_MAX, tune_options, wa_command_tune},
    {"score", "CONFIG|RUN... [--set path=value]... [--out DIR] [--resume] [--quiet]",
     "alignment scores of runs with \"alignment_pair\"",
     "  CONFIG            {\"sweep\": a sweep's config or directory, \"epochs\": 150 or \"all\",\n"
     "                    \"estimator\": \"exact\" or \"noise\", \"control\": true, \"where\": {..}}\n"
     "  RUN               a run directory: all its checkpoints, exact\n"
     "  --set path=value  change a value of the configs, or epochs, estimator or control of a RUN,\n"
     "                    e.g. --set estimator=exact\n"
     "  --out DIR         where scores.jsonl goes (default: into the run's or the sweep's directory)\n"
     "  --resume          go on after the scores that were found before it was interrupted\n"
     "  --quiet           no progress\n",
     1, SIZE_MAX, score_options, wa_command_score},
    {"data", "list | get NAME [--dir DIR]", "fetch data sets from their official addresses",
     "  list              name the data sets, and say which are there\n"
     "  get NAME          fetch one, check it and put it where `walign train` finds it\n"
     "  --dir DIR         put it into DIR (default $WALIGN_DATA/NAME, else\n"
     "                    $XDG_DATA_HOME/walign/NAME, else ~/.local/share/walign/NAME)\n",
     1, 2, data_options, wa_command_data},
    {"devices", "[--json]", "list the OpenCL devices",
     "  --json            print a JSON array\n", 0, 0, list_options, wa_command_devices},
    {"plugins", "[--json]", "list rules, architectures, datasets and optimizers",
     "  --json            print a JSON object, with every plugin's options and roles\n", 0, 0, list_options,
     wa_command_plugins},
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static const struct option long_options[] = {
    {"set", required_argument, NULL, OPTION_SET},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"out", required_argument, NULL, OPTION_OUT},
    {"resume", no_argument, NULL, OPTION_RESUME},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"json", no_argument, NULL, OPTION_JSON},
    {"steps", required_argument, NULL, OPTION_STEPS},
    {"profile", required_argument, NULL, OPTION_PROFILE},
    {"paths-from", required_argument, NULL, OPTION_PATHS_FROM},
    {"devices", required_argument, NULL, OPTION_DEVICES},
    {"jobs", required_argument, NULL, OPTION_JOBS},
    {"dir", required_argument, NULL, OPTION_DIR},
    {"list", no_argument, NULL, OPTION_LIST},
    {"operations", no_argument, NULL, OPTION_OPERATIONS},
    {"thorough", no_argument, NULL, OPTION_THOROUGH},
    {"without-batch-norm", no_argument, NULL, OPTION_WITHOUT_BATCH_NORM},
    {"plugin-path", required_argument, NULL, OPTION_PLUGIN_PATH},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static void print_usage(FILE *to)
{
    (void)fprintf(to, "Usage: walign COMMAND [OPTION]...\n\n"
                      "Trains wide neural networks with backprop-free learning rules on any OpenCL "
                      "device.\n\nCommands:\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        (void)fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fprintf(to, "\nEverywhere: --plugin-path DIR (may be repeated), --help, --version.\n"
                      "`walign COMMAND --help` says more; so does `man walign`.\n");
}

static void print_command_help(const struct command *command)
{
    (void)printf("Usage: walign %s %s\n\n%s.\n\n%s"
                 "  --plugin-path DIR search DIR for plugins first; may be repeated\n",
                 command->name, command->arguments, command->summary, command->help);
}

static bool is_allowed(const struct command *command, int id)
{
    if (id == OPTION_PLUGIN_PATH) {
        return true;
    }
    for (const int *o = command->options; *o; o++) {
        if (*o == id) {
            return true;
        }
    }
    return false;
}

static wa_status read_count(const char *option, const char *text, int64_t most, int64_t *ret_count,
                            struct wa_error *err)
{
    char *end = NULL;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end || value < 1 || value > most) {
        return wa_fail(err, WA_E_USAGE, "%s %s: expected a number from 1 to %lld", option, text,
                       (long long)most);
    }
    *ret_count = value;
    return WA_OK;
}

static wa_status take_option(struct wa_command_line *line, int id, const char *argument,
                             struct wa_error *err)
{
    switch (id) {
    case OPTION_SET:
        ((const char **)(uintptr_t)line->setup.sets)[line->setup.set_count++] = argument;
        break;
    case OPTION_PLUGIN_PATH:
        ((const char **)(uintptr_t)line->setup.plugin_paths)[line->setup.plugin_path_count++] = argument;
        break;
    case OPTION_DEVICE:
        line->setup.device = argument;
        break;
    case OPTION_OUT:
        if (!*argument) {
            return wa_fail(err, WA_E_USAGE, "option --out needs a directory, got an empty name");
        }
        line->out = argument;
        break;
    case OPTION_RESUME:
        line->resume = true;
        break;
    case OPTION_QUIET:
        line->quiet = true;
        break;
    case OPTION_JSON:
        line->json = true;
        break;
    case OPTION_PROFILE:
        line->profile = argument;
        break;
    case OPTION_STEPS:
        return read_count("--steps", argument, 1000000, &line->steps, err);
    case OPTION_JOBS:
        return read_count("--jobs", argument, 1024, &line->jobs, err);
    case OPTION_PATHS_FROM:
        line->setup.paths_from = argument;
        break;
    case OPTION_DEVICES:
        line->devices = argument;
        break;
    case OPTION_DIR:
        if (!*argument) {
            return wa_fail(err, WA_E_USAGE, "option --dir needs a directory, got an empty name");
        }
        line->dir = argument;
        break;
    case OPTION_OPERATIONS:
        line->operations = true;
        break;
    case OPTION_THOROUGH:
        line->thorough = true;
        break;
    case OPTION_WITHOUT_BATCH_NORM:
        line->without_batch_norm = true;
        break;
    case OPTION_LIST:
        line->list = true;
        break;
    default:
        break;
    }
    return WA_OK;
}

/* `word` is where getopt stopped: behind an option's value, or behind the first of several letters. */
static void refuse_option(const struct command *command, int id, const struct option *option,
                          const char *word, struct wa_error *err)
{
    char shown[64];
    if (id != '?') { /* another command's */
        (void)snprintf(shown, sizeof shown, "--%s", option->name);
    } else if (optopt > 0 && optopt < OPTION_SET) {
        (void)snprintf(shown, sizeof shown, "-%c", optopt);
    } else {
        (void)snprintf(shown, sizeof shown, "%s", word);
    }
    (void)wa_fail(err, WA_E_USAGE, "`walign %s` has no option '%s'; `walign %s --help` lists them",
                  command->name, shown, command->name);
}

enum outcome { OUTCOME_RUN, OUTCOME_DONE, OUTCOME_FAILED };

static enum outcome parse(const struct command *command, int argc, char **argv,
                          struct wa_command_line *line, struct wa_error *err)
{
    opterr = 0;
    optind = 2;
    int id = 0;
    int option = 0;
    while ((id = getopt_long(argc, argv, ":", long_options, &option)) != -1) {
        const char *word = argv[optind - 1];
        if (id == OPTION_HELP) {
            print_command_help(command);
            return OUTCOME_DONE;
        }
        if (id == OPTION_VERSION) {
            (void)printf("walign %s\n", WA_VERSION);
            return OUTCOME_DONE;
        }
        if (id == ':') {
            (void)wa_fail(err, WA_E_USAGE, "option %s needs a value", word);
            return OUTCOME_FAILED;
        }
        if (id == '?' || !is_allowed(command, id)) {
            refuse_option(command, id, &long_options[option], word, err);
            return OUTCOME_FAILED;
        }
        if (take_option(line, id, optarg, err) != WA_OK) {
            return OUTCOME_FAILED;
        }
    }
    line->positional = (const char **)&argv[optind];
    line->positional_count = (size_t)(argc - optind);
    if (line->positional_count < command->min_positional ||
        line->positional_count > command->max_positional) {
        (void)wa_fail(err, WA_E_USAGE, "expected: walign %s %s", command->name, command->arguments);
        return OUTCOME_FAILED;
    }
    line->setup.config_file = line->positional_count ? line->positional[0] : NULL;
    return OUTCOME_RUN;
}

static wa_status run_command(const struct command *command, int argc, char **argv, struct wa_error *err)
{
    struct wa_command_line line = {.steps = 30};
    const char **sets = calloc((size_t)argc, sizeof *sets);
    const char **paths = calloc((size_t)argc, sizeof *paths);
    wa_status status = sets && paths ? WA_OK : wa_fail(err, WA_E_MEMORY, "out of memory");
    line.setup.sets = sets;
    line.setup.plugin_paths = paths;
    if (status == WA_OK) {
        enum outcome outcome = parse(command, argc, argv, &line, err);
        status = outcome == OUTCOME_RUN ? command->run(&line, err) : err->status;
    }
    free(sets);
    free(paths);
    return status;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static wa_status unknown_command(const char *name, struct wa_error *err)
{
    const char *names[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        names[i] = commands[i].name;
    }
    const char *near = wa_config_suggest(name, names, COMMAND_COUNT);
    return wa_fail(err, WA_E_USAGE, "no command '%s'%s%s%s; `walign --help` lists them", name,
                   near ? ", did you mean '" : "", near ? near : "", near ? "'?" : "");
}

int main(int argc, char **argv)
{
    struct wa_error err = {0};
    wa_status status = WA_OK;
    if (argc < 2) {
        print_usage(stderr);
        return wa_status_exit_code(WA_E_USAGE);
    }
    const struct command *command = find_command(argv[1]);
    if (command) {
        status = run_command(command, argc, argv, &err);
    } else if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(stdout);
    } else if (strcmp(argv[1], "--version") == 0) {
        (void)printf("walign %s\n", WA_VERSION);
    } else {
        status = unknown_command(argv[1], &err);
    }
    /* What did not fit into the buffer may have failed before, and left nothing to flush. */
    if (status == WA_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        status = wa_fail(&err, WA_E_IO, "writing to standard output failed");
    }
    if (status != WA_OK) {
        wa_log(WA_LOG_ERROR, "%s", err.message[0] ? err.message : wa_status_text(status));
    }
    return wa_status_exit_code(status);
}
