/* beckon doctor: what its two halves share, the look at the coordinator from outside (doctor_coordinator.c)
 * and at a daemon's configuration on its own machine (doctor_daemon.c). */
#pragma once

#include "coordinator/cli/cli.h"
#include "coordinator/cli/probe.h"
#include "coordinator/cli/report.h"

#define HOST_SIZE 256

/* A server, and where the person who looks has written its address down. */
typedef struct Server {
    const char *what;            /* "broker": begins each check's name */
    const char *address_setting; /* "[mqtt] host and port", "--url" */
    const char *ca_setting;      /* "[mqtt] ca", "--ca" */
    char host[HOST_SIZE];
    uint16_t port;
    const char *url;                         /* NULL: it speaks no HTTP */
    const char *ca_file;                     /* NULL: what the system trusts */
    const char *cert_file, *key_file, *pins; /* or NULL */
    const char *proxy;                       /* or NULL: then only the proxy's port is looked at */
} Server;

/* Host and port of https://host:port/... . false, after a fault in the report, if it is not of that form. */
bool server_set_url(Report *report, Server *server, const char *url) MUST_CHECK;

/* Name, port and TLS. false if there is no point in asking it anything. */
bool doctor_reach(Report *report, const Server *server);

/* How it is by its own word, and what its clock says. */
void doctor_ask(Report *report, const Server *server);

/* Something that ends: a warning in its last 30 days, a fault after. ok says what is good about it. */
void doctor_judge_end(Report *report, const char *check, const char *whose, int64_t ends_unix_s,
                      const char *renew);

/* What an operator can see from anywhere. */
void doctor_look_at_coordinator(Report *report, const Cli *cli);

/* A daemon's configuration, and what it leads to. user: as whom; NULL: as root the daemon's own, where there
 * is one, otherwise as it is. EXIT_DONE, or EXIT_USAGE after a line. */
int doctor_look_at_daemon(Report *report, const char *config_file, const char *user) MUST_CHECK;
