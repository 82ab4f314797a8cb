TRUNCATE lines, orders, customers RESTART IDENTITY;
