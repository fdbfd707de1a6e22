-- Phones, as Stream's clients register them. Nothing is sent to them: no provider can be configured.
CREATE TABLE devices (
    user_id       text NOT NULL,
    id            text NOT NULL,
    push_provider text NOT NULL,
    hardware_id   text,
    voip          boolean,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, id)
);

-- Browsers that take web push. An endpoint is one browser of one person: whoever registers it last has it.
CREATE TABLE push_subscriptions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint   text NOT NULL UNIQUE,     -- whoever knows it may push: never logged
    user_id    text NOT NULL,
    p256dh     bytea NOT NULL,           -- the browser's public key, 65 bytes
    auth       bytea NOT NULL,           -- the secret shared with the browser, 16 bytes
    client_id  text,
    platform   text,
    expires    timestamptz,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX push_subscriptions_user ON push_subscriptions (user_id);

-- What users want to be pushed. Channel 0 stands for all channels.
CREATE TABLE push_preferences (
    user_id        text NOT NULL,
    channel_id     bigint NOT NULL,
    chat_level     text,
    disabled_until timestamptz,
    PRIMARY KEY (user_id, channel_id)
);

-- The key that signs pushes (RFC 8292): made by the first node that starts. Browsers subscribe to its public half, so a new one
-- would end every subscription.
CREATE TABLE vapid_key (
    id          smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    private_key bytea NOT NULL,          -- PKCS #8
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- How far jobs have read the event log. One node at a time holds a row and moves it.
CREATE TABLE log_cursors (
    reader text PRIMARY KEY,
    tx     bigint NOT NULL,
    id     bigint NOT NULL
);

-- Pushes that are still to be sent. What a push says is read from the message when it is sent: one that was deleted is not
-- pushed, and a large channel costs narrow rows.
CREATE TABLE push_deliveries (
    subscription_id bigint NOT NULL REFERENCES push_subscriptions (id) ON DELETE CASCADE,
    message_id      text NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    due_at          timestamptz NOT NULL,    -- while a node is sending: when another may try
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (subscription_id, message_id)
);
CREATE INDEX push_deliveries_due ON push_deliveries (due_at);
