/* `walign train`. */
#include <signal.h>
#include <string.h>

#include "commands.h"
#include "trainer.h"

/* Signal handlers can reach nothing else. */
static volatile sig_atomic_t stop_requested;

/* The first signal asks for an end; a second one ends at once, as signals do. */
static void request_stop(int number)
{
    stop_requested = 1;
    (void)signal(number, SIG_DFL);
}

wa_status wa_command_train(const struct wa_command_line *line, struct wa_error *err)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = request_stop;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    const struct wa_trainer_request request = {.setup = line->setup,
                                               .directory = line->out,
                                               .resume = line->resume,
                                               .quiet = line->quiet,
                                               .stop = &stop_requested};
    return wa_trainer_run(&request, err);
}
