-- What is said of numbers and clocks that are not plausible.

comment on column teamleader.record.content is 'The item of the .list endpoint, overlaid by the answer of the .info endpoint. U+0000 and lone surrogates, which jsonb refuses, are stored as U+FFFD; a number of more than 1,000 digits, written out, as a text.';
comment on column teamleader2db.cursor.watermark is 'The API''s clock when the last wholly successful pass began, less SYNC_LOOKBACK. The next incremental pass asks for what changed since. A complete pass sets it back if it lies in the future; else it never moves back.';
comment on column teamleader2db.sync_step.clock is 'The API''s clock when the pass began; the next watermark comes from it. Null where it was more than two minutes from this server''s.';
