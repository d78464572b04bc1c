/* TLS 1.2 as we take it from OpenSSL: forward secrecy and authenticated encryption, as TLS 1.3 has it anyway.
 * broker-config/mosquitto.conf and common/http_server.c say the same in their languages. */
#pragma once

#define TLS12_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20"
