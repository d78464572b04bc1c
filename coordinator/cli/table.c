#include "coordinator/cli/table.h"

#include <errno.h>
#include <string.h>
#include <wchar.h>

struct Table {
    const char *const *titles;
    size_t columns;
    char **cells; /* row after row */
    size_t count;
};

Table *table_new(const char *const *titles, size_t count)
{
    Table *table = calloc(1, sizeof(*table));

    if (table)
        *table = (Table){.titles = titles, .columns = count};
    return table;
}

Table *table_free(Table *table)
{
    if (!table)
        return NULL;
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
    return NULL;
}

int table_add(Table *table, const char *const *cells)
{
    char **grown = reallocarray(table->cells, table->count + table->columns, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    table->cells = grown;
    for (size_t i = 0; i < table->columns; i++) {
        char *copy = strdup(cells[i]);
        if (!copy) {
            table->count -= table->count % table->columns; /* a row is whole or not there */
            return -ENOMEM;
        }
        table->cells[table->count++] = copy;
    }
    return 0;
}

static size_t columns_of(const char *text)
{
    wchar_t wide[512];
    size_t length = mbstowcs(wide, text, 512);

    if (length == (size_t)-1 || length == 512)
        return strlen(text); /* not in this locale's encoding */
    int width = wcswidth(wide, length);
    return width < 0 ? length : (size_t)width;
}

static void print_row(const Table *table, const char *const *cells, const size_t *widths, FILE *stream)
{
    for (size_t i = 0; i < table->columns; i++) {
        size_t pad = i + 1 < table->columns ? widths[i] - columns_of(cells[i]) + 2 : 0;
        (void)fprintf(stream, "%s%*s", cells[i], (int)pad, "");
    }
    (void)fputc('\n', stream);
}

void table_print(const Table *table, FILE *stream)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};

    for (size_t i = 0; i < table->columns; i++)
        widths[i] = columns_of(table->titles[i]);
    for (size_t i = 0; i < table->count; i++) {
        size_t width = columns_of(table->cells[i]);
        if (width > widths[i % table->columns])
            widths[i % table->columns] = width;
    }
    print_row(table, table->titles, widths, stream);
    for (size_t row = 0; row < table->count; row += table->columns)
        print_row(table, (const char *const *)table->cells + row, widths, stream);
}
