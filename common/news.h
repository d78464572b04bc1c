/* Which of several texts were told already, so that a fault that goes on is logged once for each way in which
 * it shows (a refused certificate has two or three, in turn) and not at each try. */
#pragma once

#include <stdbool.h>

#define NEWS_MAX 4
#define NEWS_TEXT_SIZE 256

typedef struct News {
    char told[NEWS_MAX][NEWS_TEXT_SIZE];
    unsigned count;
} News;

/* Whether text was not told since the last news_forget(), and may be; then it counts as told. */
bool news_is_new(News *news, const char *text);
void news_forget(News *news);
