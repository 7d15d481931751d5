/* Configs that cannot be: exit status 2, one line that has the place and what was expected, and
 * nothing is computed or written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "command_test.h"

enum { MOST_TEXTS = 4 };

/* Each of the texts is in the message, which begins with the place. */
struct bad_set {
    const char *set;
    const char *texts[MOST_TEXTS + 1];
};

static void expect_refusals(struct wa_tested_program *t, const struct bad_set *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(
            WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--set", cases[i].set), 2);
        wa_tested_expect_error(t, cases[i].texts);
        wa_tested_expect_part(t->errors, cases[i].set);
        assert_false(wa_tested_has(t, "run"));
    }
}

static void test_unknown_names(void **state)
{
    static const struct bad_set cases[] = {
        {"architecture.widht=3", {"architecture.widht", "unknown key", "\"width\""}},
        {"shufle=true", {"shufle", "unknown key", "\"shuffle\""}},
        {"dataset.validaton=3", {"dataset.validaton", "\"validation\""}},
        {"kernels.paht=\"cpu\"", {"kernels.paht", "\"path\""}},
        {"optimizer.learning_rat=1", {"optimizer.learning_rat", "\"learning_rate\""}},
        {"frobnicate=1", {"frobnicate", "unknown key"}},
        {"rule.plugin=alignzero", {"'alignzero'", "'align-zero'", "backprop"}},
        {"rule.plugin=hebb", {"'hebb'", "backprop", "last-layer"}},
        {"dataset.plugin=fashion-minst", {"'fashion-minst'", "'fashion-mnist'"}},
        {"architecture.plugin=cn", {"'cn'", "'cnn'"}},
        {"optimizer.plugin=adma", {"'adma'", "'adam'"}},
        {"evaluate=[\"validation\", \"tests\"]", {"evaluate[1]", "\"tests\"", "\"test\""}},
        {"parameterization=mup", {"\"mup\"", "\"ntk\"", "\"standard\""}},
        {"kernels.path=tpu", {"\"tpu\"", "\"auto\"", "\"cpu\"", "\"gpu\""}},
    };
    expect_refusals(*state, cases, sizeof cases / sizeof *cases);
}

static void test_types(void **state)
{
    static const struct bad_set cases[] = {
        {"batch=ten", {"batch", "\"ten\"", "integer"}},
        {"batch=2.5", {"batch", "2.5", "integer"}},
        {"batch=null", {"batch", "null", "integer"}},
        {"shuffle=1", {"shuffle", "got 1", "true or false"}},
        {"architecture.kernels=3", {"architecture.kernels", "got 3", "array"}},
        {"architecture.strides=[1,\"two\"]", {"architecture.strides[1]", "\"two\"", "integer"}},
        {"rule=fa", {"rule", "\"fa\"", "object"}},
        {"rule.plugin=7", {"rule.plugin", "got 7", "string"}},
        {"optimizer.learning_rate=fast", {"optimizer.learning_rate", "\"fast\"", "number"}},
        {"optimizer.learning_rate=NaN", {"optimizer.learning_rate", "NaN", "number"}},
        {"optimizer.learning_rate=1e999", {"optimizer.learning_rate", "1e999", "number"}},
    };
    expect_refusals(*state, cases, sizeof cases / sizeof *cases);
}

static void test_ranges(void **state)
{
    static const struct bad_set cases[] = {
        {"architecture.width=0", {"architecture.width", "got 0", "from 1"}},
        {"architecture.width=-3", {"architecture.width", "got -3", "from 1"}},
        {"architecture.width=1e30", {"architecture.width", "1e30", "integer from 1"}},
        {"architecture.width=9223372036854775807", {"architecture.width", "integer from 1"}},
        {"batch=0", {"batch", "got 0", "from 1"}},
        {"batch=-1", {"batch", "got -1", "from 1"}},
        {"batch=99999999999999999999", {"batch", "integer from 1"}},
        {"epochs=0", {"epochs", "got 0", "from 1"}},
        {"epochs=-2", {"epochs", "got -2", "from 1"}},
        {"epochs=1000000000000", {"epochs", "from 1 to 1000000"}},
        {"steps=0", {"steps", "got 0"}},
        {"seed=-1", {"seed", "got -1", "from 0"}},
        {"seed=4294967296", {"seed", "4294967295"}},
        {"optimizer.learning_rate=-0.5", {"optimizer.learning_rate", "-0.5", "at least 0"}},
        {"architecture.kernels=[3,0]", {"architecture.kernels[1]", "got 0", "from 1"}},
        {"architecture.strides=[1,-2]", {"architecture.strides[1]", "got -2", "from 1"}},
        {"dataset.train_limit=0", {"dataset.train_limit", "got 0"}},
        {"dataset.validation=-1", {"dataset.validation", "got -1"}},
        {"checkpoint_every=0", {"checkpoint_every", "got 0"}},
    };
    expect_refusals(*state, cases, sizeof cases / sizeof *cases);
}

static void test_sets_that_are_none(void **state)
{
    static const struct bad_set cases[] = {
        {"nothing", {"path=value"}},
        {"=3", {"path=value"}},
        {"architecture.strides[9]=1", {"strides"}},
        {"batch.size=3", {"batch"}},
    };
    expect_refusals(*state, cases, sizeof cases / sizeof *cases);
}

/* Data and network, or data and batch, that do not fit together. */
static void test_misfits(void **state)
{
    static const struct bad_set cases[] = {
        {"batch=101", {"batch of 101", "100 items", "at most 100"}},
        {"dataset.validation=120", {"dataset.validation", "120 items", "expected fewer"}},
        {"dataset.height=0", {"dataset.height", "got 0", "from "}},
    };
    struct wa_tested_program *t = *state;
    expect_refusals(t, cases, sizeof cases / sizeof *cases);
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--set",
                                   "architecture.kernels=[3, 3, 3]"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "tiny.json:", ": architecture 'cnn'", "\"kernels\" has 3",
                           "\"strides\" 2");
    assert_int_equal(WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--set",
                                   "architecture.kernels=[]", "--set", "architecture.strides=[]"),
                     2);
    WA_TESTED_EXPECT_ERROR(t, "'cnn'", "at least one");
    /* not in the config alone: what is left after the held-out items */
    assert_int_equal(
        WA_TESTED_RUN(t, "train", "tiny.json", "--out", "run", "--set", "dataset.validation=115"),
        2);
    WA_TESTED_EXPECT_ERROR(t, "tiny.json:5:2", "batch of 10", "5 items");
    assert_false(wa_tested_has(t, "run"));
}

/* Whole files; the place is in the message. */
static void test_texts(void **state)
{
#define REST "'dataset': {'plugin': 'glyphs'}, 'architecture': {'plugin': 'cnn'}"
    static const struct {
        const char *text;
        const char *texts[MOST_TEXTS + 1];
    } cases[] = {
        {"", {"bad.json:1:1", "end of the text"}},
        {"[]", {"bad.json:1:1", "expected an object"}},
        {"{" REST ",\n 'rule': {'plugin': 'fa'},\n 'batch': 1,\n 'batch': 2}",
         {"bad.json:4:2", "batch", "twice", "3:2"}},
        {"{" REST ",\n 'rule': {'plugin': 'fa', 'plugin': 'fa'}}", {"bad.json:2:27", "twice"}},
        {"{" REST "\n 'rule': {'plugin': 'fa'}}", {"bad.json:2:2", "expected ','"}},
        {"{" REST ",\n 'rule': {'plugin': 'fa'}}}", {"bad.json:2:27"}},
        {"{" REST ",\n 'rule': {'plugin': 'fa'", {"bad.json:2:"}},
        {"{" REST ", 'rule': {'plugin': 'fa'},\n 'optimizer': {'learning_rate': NaN}}",
         {"bad.json:2:33", "NaN"}},
        {"{" REST ", 'rule': {'plugin': 'fa'},\n 'optimizer': {'learning_rate': -Infinity}}",
         {"bad.json:2:33"}},
        {"{" REST "}", {"bad.json:1:1", "\"rule\" is missing"}},
        {"{" REST ",\n 'rule': {}}", {"bad.json:2:2", "rule", "\"plugin\" is missing"}},
        {"{'architecture': {'plugin': 'cnn'}, 'rule': {'plugin': 'fa'}}",
         {"bad.json:1:1", "\"dataset\" is missing"}},
        {"{" REST ", 'rule': {'plugin': 'fa'},\n  'epoch': 3}",
         {"bad.json:2:3", "epoch", "unknown key", "\"epochs\""}},
        {"{" REST ", 'rule': {'plugin': 'fa',\n  'feedback': 1}}", {"bad.json:2:3", "feedback"}},
    };
#undef REST
    struct wa_tested_program *t = *state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wa_tested_write_json(t, "bad.json", cases[i].text);
        assert_int_equal(WA_TESTED_RUN(t, "train", "bad.json", "--out", "run"), 2);
        wa_tested_expect_error(t, cases[i].texts);
        assert_false(wa_tested_has(t, "run"));
    }
}

static void test_unreadable_config(void **state)
{
    struct wa_tested_program *t = *state;
    assert_int_equal(WA_TESTED_RUN(t, "train", "none.json"), 2);
    WA_TESTED_EXPECT_ERROR(t, "none.json", "No such file");
    assert_int_equal(WA_TESTED_RUN(t, "train", "."), 2);
    WA_TESTED_EXPECT_ERROR(t, "folder");
    assert_false(wa_tested_has(t, "runs"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WA_COMMAND_TEST(test_unknown_names),
        WA_COMMAND_TEST(test_types),
        WA_COMMAND_TEST(test_ranges),
        WA_COMMAND_TEST(test_sets_that_are_none),
        WA_COMMAND_TEST(test_misfits),
        WA_COMMAND_TEST(test_texts),
        WA_COMMAND_TEST(test_unreadable_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
