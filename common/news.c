#include "common/news.h"

#include <stdio.h>
#include <string.h>

bool news_is_new(News *news, const char *text)
{
    for (unsigned i = 0; i < news->count; i++)
        if (strncmp(news->told[i], text, NEWS_TEXT_SIZE - 1) == 0)
            return false;
    if (news->count == NEWS_MAX)
        return false;
    (void)snprintf(news->told[news->count++], NEWS_TEXT_SIZE, "%s", text);
    return true;
}

void news_forget(News *news)
{
    news->count = 0;
}
