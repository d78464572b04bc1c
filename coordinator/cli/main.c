#include "common/program.h"
#include "coordinator/cli/cli.h"
#include "coordinator/cli/interrupt.h"

#include <locale.h>

int main(int argc, char **argv)
{
    (void)setlocale(LC_CTYPE, ""); /* how wide a character is on this terminal */
    program_keep_secrets();
    interrupt_setup();
    return cli_run(argc, argv);
}
