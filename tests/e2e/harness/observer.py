"""Somebody on the broker who hears and says what the ACL lets him."""

import json
import ssl
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from . import contract
from .waiting import PATIENCE_S, wait_until


class Client(mqtt.Client):
    """paho's thread dies of a TLS alert with a traceback; here it ends as it does for any lost connection."""

    def loop_forever(self, *args, **options):
        try:
            return super().loop_forever(*args, **options)
        except ssl.SSLError as error:
            self.on_disconnect(self, None, error)
            return mqtt.MQTT_ERR_CONN_LOST


class Observer:
    """Connects with a certificate; collects (topic, payload) of everything it subscribes to, and holds it to the contract.

    Speaks MQTT 3.1.1, or 5 for user properties."""

    def __init__(self, port, ca, identity, client_id="", subscribe=(), mqtt5=False):
        self.messages = []
        self.user_properties = []  # (topic, {name: value}) of each message, with MQTT 5
        self.granted = {}
        self.connect_result = None
        self.disconnects = []
        self._lock = threading.Lock()
        self._mqtt5 = mqtt5
        self._client = Client(client_id=client_id, clean_session=None if mqtt5 else True, protocol=mqtt.MQTTv5 if mqtt5 else mqtt.MQTTv311)
        self._client.tls_set(str(ca), str(identity[0]), str(identity[1]), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self._client.on_connect = lambda client, data, flags, code, *properties: setattr(self, "connect_result", code)
        self._client.on_disconnect = lambda client, data, code, *properties: self.disconnects.append(code)
        self._client.on_message = self._heard
        self._client.on_subscribe = lambda client, data, mid, granted, *properties: self.granted.update({mid: granted})
        self._client.connect("127.0.0.1", port, keepalive=30)
        self._client.loop_start()
        wait_until(lambda: self.connect_result is not None or self.disconnects, "the broker's CONNACK")
        if self.connect_result is None:
            self.close()
            raise ConnectionError("the broker has ended the connection")  # a TLS 1.3 server's refusal comes this late
        for topic in subscribe:
            self.subscribe(topic)

    def subscribe(self, topic):
        """Returns the QoS that the broker granted; 128 is a refusal."""
        _, mid = self._client.subscribe(topic, qos=1)
        return wait_until(lambda: self.granted.get(mid), f"the broker's SUBACK for {topic}")[0]

    def publish(self, topic, payload, retain=False, **user_properties):
        """Returns when the broker has acknowledged it (which it also does with what the ACL drops)."""
        options = {}
        if user_properties:
            options["properties"] = Properties(PacketTypes.PUBLISH)
            options["properties"].UserProperty = list(user_properties.items())
        self._say(topic, payload, qos=1, retain=retain, **options).wait_for_publish(PATIENCE_S)

    def publish_soon(self, topic, payload):
        """Without waiting for the broker's acknowledgement."""
        self._say(topic, payload, qos=1)

    def publish_once(self, topic, payload):
        """With QoS 0: who loses the connection over it does not get it again."""
        self._say(topic, payload, qos=0).wait_for_publish(6 * PATIENCE_S)

    def on(self, topic):
        """The payloads heard on exactly this topic, parsed."""
        with self._lock:
            return [json.loads(payload) for heard, payload in self.messages if heard == topic]

    def wait_for(self, topic, wanted=lambda message: True, timeout_s=PATIENCE_S):
        """The first message there for which wanted() is true."""
        return wait_until(lambda: [message for message in self.on(topic) if wanted(message)],
                          lambda: f"a message on {topic}; heard {self.on(topic)[-3:]}", timeout_s)[0]

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()

    def _say(self, topic, payload, **options):
        text = payload if isinstance(payload, (str, bytes)) else json.dumps(payload)
        contract.published(topic, text.encode() if isinstance(text, str) else text)
        return self._client.publish(topic, text, **options)

    def _heard(self, client, data, message):
        properties = getattr(message.properties, "UserProperty", []) if self._mqtt5 else None
        contract.check_message(message.topic, message.payload, properties)
        with self._lock:
            self.messages.append((message.topic, message.payload))
            self.user_properties.append((message.topic, dict(properties or [])))
