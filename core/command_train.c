/* `walign train`. */
#include "commands.h"
#include "stop_request.h"
#include "trainer.h"

wa_status wa_command_train(const struct wa_command_line *line, struct wa_error *err)
{
    const struct wa_trainer_request request = {.setup = line->setup,
                                               .directory = line->out,
                                               .resume = line->resume,
                                               .quiet = line->quiet,
                                               .stop = wa_stop_request_watch()};
    return wa_trainer_run(&request, err);
}
