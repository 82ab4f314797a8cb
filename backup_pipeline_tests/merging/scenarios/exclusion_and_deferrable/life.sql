DELETE FROM bookings WHERE id > 1;
DELETE FROM rooms WHERE id = 2;
UPDATE rooms SET place = 4 WHERE id = 3;
INSERT INTO rooms VALUES (2, 'grey', 9);
INSERT INTO bookings VALUES (2, 2, '[3,12)', 'dan');
