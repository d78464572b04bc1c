/* The agent: commands from the broker, states back to it, presence. */
#pragma once

#include "agent/config.h"
#include "common/loop.h"

typedef struct Agent Agent;

/* config must outlive it. Goes on with earlier jobs and starts connecting. 0 or a negative errno, after a log
 * line. */
int agent_new(Loop *loop, const AgentConfig *config, Agent **ret_agent) MUST_CHECK;

/* Says good-bye to the broker and ends the workers; unfinished jobs go on after the next start. Returns NULL.
 */
Agent *agent_free(Agent *agent);
