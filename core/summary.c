/* What a run came to. */
#include "summary.h"

#include <json-c/json.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "log.h"
#include "record.h"

enum { MAX_METRICS_BYTES = 1 << 28 };

static bool is_loss(const char *key)
{
    static const char tail[] = "_loss";
    size_t length = strlen(key);
    return length >= sizeof tail && strcmp(key + length - (sizeof tail - 1), tail) == 0;
}

/* Keeps {"value", "epoch"} of the first line with the lowest value of each loss. */
static void take_line(json_object *lowest, json_object *line)
{
    json_object *epoch = NULL;
    if (!json_object_object_get_ex(line, "epoch", &epoch)) {
        return;
    }
    json_object_object_foreach(line, key, value)
    {
        json_object *best = NULL;
        json_object *known = NULL;
        if (!is_loss(key) || !value) {
            continue;
        }
        if (json_object_object_get_ex(lowest, key, &best) &&
            json_object_object_get_ex(best, "value", &known) &&
            json_object_get_double(known) <= json_object_get_double(value)) {
            continue;
        }
        best = json_object_new_object();
        (void)json_object_object_add(best, "value", json_object_get(value));
        (void)json_object_object_add(best, "epoch", json_object_get(epoch));
        (void)json_object_object_add(lowest, key, best);
    }
}

static wa_status find_lowest(const char *directory, json_object *lowest, struct wa_error *err)
{
    char *path = wa_file_join(directory, "metrics.jsonl");
    unsigned char *text = NULL;
    size_t size = 0;
    wa_status status = path ? wa_file_read_all(path, MAX_METRICS_BYTES, &text, &size, err)
                            : wa_fail(err, WA_E_MEMORY, "out of memory");
    char *rest = NULL;
    for (char *line = text ? strtok_r((char *)text, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        json_object *object = json_tokener_parse(line);
        take_line(lowest, object);
        (void)json_object_put(object);
    }
    free(text);
    free(path);
    return status;
}

static wa_status find_chance(struct wa_batches *batches, json_object *chance, struct wa_error *err)
{
    static const struct {
        const char *key;
        enum wa_set set;
    } sets[] = {{"train_loss", WA_SET_TRAIN_EVALUATION},
                {"validation_loss", WA_SET_VALIDATION},
                {"test_loss", WA_SET_TEST}};
    wa_status status = WA_OK;
    for (size_t i = 0; i < sizeof sets / sizeof *sets && status == WA_OK; i++) {
        double loss = 0;
        status = wa_batches_chance_loss(batches, sets[i].set, &loss, err);
        if (status == WA_OK && !isnan(loss)) {
            (void)json_object_object_add(chance, sets[i].key, wa_record_number(loss));
        }
    }
    return status;
}

/* "lowest losses: test 4.5105 (epoch 5), ...; by chance: train 9.3585, test 9.3119" */
static void log_summary(json_object *lowest, json_object *chance)
{
    char text[512] = "";
    size_t used = 0;
    const char *separator = "";
    json_object_object_foreach(lowest, key, best)
    {
        int n = snprintf(text + used, sizeof text - used, "%s%.*s %.4f (epoch %lld)", separator,
                         (int)(strlen(key) - strlen("_loss")), key,
                         json_object_get_double(json_object_object_get(best, "value")),
                         (long long)json_object_get_int64(json_object_object_get(best, "epoch")));
        used += n > 0 && (size_t)n < sizeof text - used ? (size_t)n : 0;
        separator = ", ";
    }
    separator = "; by chance: ";
    json_object_object_foreach(chance, name, value)
    {
        int n = snprintf(text + used, sizeof text - used, "%s%.*s %.4f", separator,
                         (int)(strlen(name) - strlen("_loss")), name, json_object_get_double(value));
        used += n > 0 && (size_t)n < sizeof text - used ? (size_t)n : 0;
        separator = ", ";
    }
    wa_log(WA_LOG_INFO, "lowest losses: %s", text);
}

static wa_status write_file(const char *directory, json_object *summary, struct wa_error *err)
{
    char *path = wa_file_join(directory, "summary.json");
    const char *text = json_object_to_json_string_ext(summary, JSON_C_TO_STRING_PRETTY |
                                                                   JSON_C_TO_STRING_SPACED);
    wa_status status = path && text ? wa_file_write_atomic(path, text, strlen(text), err)
                                    : wa_fail(err, WA_E_MEMORY, "out of memory");
    free(path);
    return status;
}

wa_status wa_summary_write(const char *directory, struct wa_batches *batches, bool is_quiet,
                           struct wa_error *err)
{
    json_object *summary = json_object_new_object();
    json_object *lowest = json_object_new_object();
    json_object *chance = json_object_new_object();
    if (!summary || !lowest || !chance) {
        (void)json_object_put(summary);
        (void)json_object_put(lowest);
        (void)json_object_put(chance);
        return wa_fail(err, WA_E_MEMORY, "out of memory");
    }
    (void)json_object_object_add(summary, "lowest", lowest);
    (void)json_object_object_add(summary, "chance", chance);
    wa_status status = find_lowest(directory, lowest, err);
    if (status == WA_OK) {
        status = find_chance(batches, chance, err);
    }
    if (status == WA_OK) {
        status = write_file(directory, summary, err);
    }
    if (status == WA_OK && !is_quiet) {
        log_summary(lowest, chance);
    }
    (void)json_object_put(summary);
    return status;
}
