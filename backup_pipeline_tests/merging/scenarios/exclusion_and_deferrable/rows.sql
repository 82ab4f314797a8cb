INSERT INTO rooms VALUES (1, 'red', 1), (2, 'blue', 2), (3, 'green', 3);
INSERT INTO bookings VALUES (1, 1, '[1,5)', 'ann'), (2, 2, '[1,5)', 'bob'), (3, 2, '[5,9)', 'cid');
