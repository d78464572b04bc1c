#include "coordinator/cli/cli.h"
#include "coordinator/cli/interrupt.h"

#include <locale.h>

int main(int argc, char **argv)
{
    (void)setlocale(LC_CTYPE, ""); /* how wide a character is on this terminal */
    interrupt_setup();
    return cli_run(argc, argv);
}
